"""What the formats say alike: which object a name means, how thick a pen is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from rhmnet.tools.scribbles.drawing import BACKGROUND_ID

_NUMBERED = re.compile(r"(?:object|obj)?[\s_-]*0*(\d+)", re.IGNORECASE)
_BACKGROUND = re.compile(r"(?:background|bg)", re.IGNORECASE)


def object_id(name: str) -> int | None:
    """Of `2`, `object 2`, `obj_2`, `background`, `bg`, `0`; None for any other name."""
    if _BACKGROUND.fullmatch(name.strip()):
        return BACKGROUND_ID
    match = _NUMBERED.fullmatch(name.strip())
    return int(match[1]) if match else None


def name_of(object_id: int) -> str:
    """The name that is written for an object id."""
    return "background" if object_id == BACKGROUND_ID else str(object_id)


def number(names: Iterable[str]) -> dict[str, int]:
    """Object ids of names; those without a number get the free ones, in alphabetical order."""
    names = sorted(set(names))
    ids = {name: object_id(name) for name in names}
    taken = set(ids.values())
    for name in names:
        if ids[name] is None:
            ids[name] = next(n for n in range(1, len(names) + len(taken) + 1) if n not in taken)
            taken.add(ids[name])
    return ids


def pen_width(said: object) -> float | None:
    """Thickness in pixels, None where none is said; raises ValueError for anything else."""
    if said is None:
        return None
    if not isinstance(said, int | float) or not (math.isfinite(said) and said > 0):
        raise ValueError(f"thickness {said!r}")
    return float(said)
