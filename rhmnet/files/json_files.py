"""Read JSON from anywhere: whatever is wrong with a file becomes one line that names it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from rhmnet.errors import InputError

MOST_BYTES = 2 << 30  # COCO's largest annotations are half a GiB
_HUGE_EXPONENT = re.compile(rb"[eE]\+?\d{3}")  # such a number may be infinite


def read_json(path: str | Path, wanted: str = "a JSON object") -> dict[str, Any]:
    """The object that a JSON file holds; all its numbers are finite.

    wanted: what was expected, in words, for messages.
    Raises InputError that names the file if it is missing, too large, no UTF-8, nested too deep,
    no JSON (NaN and Infinity are not), or holds another thing than an object.
    """
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path}: is larger than {MOST_BYTES >> 30} GiB; expected {wanted}, smaller"
            )
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {wanted}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); expected {wanted}") from None
    content = parse_json(data, str(path), wanted)
    if not isinstance(content, dict):
        found = type(content).__name__
        raise InputError(f"{path}: expected {wanted}, found {found}; replace the file")
    return content


def parse_json(data: bytes, name: str, wanted: str = "JSON") -> Any:
    """The value that JSON text (UTF-8, with a byte order mark or not) holds.

    name: of the file, for messages, and `wanted`. Raises InputError as `read_json` does.
    """
    hooks: dict[str, Any] = {"parse_constant": _refuse}
    if _HUGE_EXPONENT.search(data):
        hooks["parse_float"] = _finite
    try:
        return json.loads(data.decode("utf-8-sig"), **hooks)
    except RecursionError:
        raise InputError(f"{name}: is nested too deep to be JSON; expected {wanted}") from None
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(
            f"{name}: cannot be read as JSON ({reason[:200]}); expected {wanted}"
        ) from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:30]} is too large")
    return number
