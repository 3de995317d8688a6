"""Damaged files, odd values and odd words, and a watch over what code does with them."""

from __future__ import annotations

import copy
import json
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rhmnet.errors import InputError

NUMBERS = (0, -1, 1, 2, 3.5, 254, 255, 256, 65535, 2**31 - 1, 2**31, 2**63, 10**30, 1e-300, 1e308)
TEXTS = (
    *("", "x", "0", "-1", "../../victim", "/abs/victim", "a\0b", "a\nb", "\x1b[2J", "\ud800"),
    *("n" * 300, "n" * 254, "é" * 128, "nan", "..", "."),
)
ODD = (*NUMBERS, *TEXTS, None, True, False, [], {}, [[]], {"x": 1}, [None], [1, 2, 3], [[1, 2]])
FIXED_POINTS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 60000, 0x7FFFFFFF, 0xFFFFFFFF)
MEMORY = 1 << 30
"""Bytes that no case may take on top of what the process holds."""
SECONDS = 30


def damage_bytes(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """One file's bytes, hurt in one of the ways that disks, networks and people know."""
    changed, size = bytearray(data), max(len(data), 1)
    kind = rng.choice(["flip", "flips", "header", "cut", "splice", "other", "number", "zeros"])
    if kind in ("flip", "flips", "header") and data:
        for _ in range(1 if kind == "flip" else 8):
            place = int(rng.integers(min(size, 64) if kind == "header" else size))
            changed[place] ^= 1 << int(rng.integers(8))
    elif kind == "cut":
        del changed[int(rng.integers(size)) :]
    elif kind == "splice":
        at, end = sorted(rng.integers(size, size=2).tolist())
        other = others[int(rng.integers(len(others)))] if others else b""
        changed[at:end] = other[at:end]
    elif kind == "other" and others:
        changed = others[int(rng.integers(len(others)))]
    elif kind == "number":
        width, order = int(rng.choice([1, 2, 4])), ("little", "big")[int(rng.integers(2))]
        place = int(rng.integers(min(size, 128) if rng.integers(2) else size))
        value = FIXED_POINTS[int(rng.integers(len(FIXED_POINTS)))] & (1 << 8 * width) - 1
        changed[place : place + width] = value.to_bytes(width, order)
    elif kind == "zeros":
        place = int(rng.integers(size))
        changed[place : place + 512] = bytes(len(changed[place : place + 512]))
    return bytes(changed)


def damage_text(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """Text with an odd number or word in the place of one of its own; or its bytes hurt."""
    if rng.random() < 0.4:
        return damage_bytes(rng, data, others)
    text = data.decode()
    words = list(re.finditer(r"-?\d+(\.\d+)?|\w+", text))
    if not words:
        return damage_bytes(rng, data, others)
    word = words[int(rng.integers(len(words)))]
    odd = [*map(str, NUMBERS), *TEXTS, "1e999", "-inf", "9" * 5000, "[" * 3000, "<", ">", '"', ":"]
    odd = odd[int(rng.integers(len(odd)))]
    return (text[: word.start()] + odd + text[word.end() :]).encode("utf-8", "surrogatepass")


def damage_json(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """JSON with an odd value, a key too few, too many or misspelled; or its text hurt."""
    if rng.random() < 0.2:
        return damage_text(rng, data, others)
    content = damage_value(rng, json.loads(data), ODD)
    text = json.dumps(content, ensure_ascii=bool(rng.integers(2)))
    if rng.random() < 0.1:
        text = re.sub(r"\d+", ("NaN", "-Infinity", "1e999")[int(rng.integers(3))], text, count=1)
    return text.encode("utf-8", "surrogatepass")


def damage_value(rng: np.random.Generator, content: Any, odd: tuple) -> Any:
    """A copy of nested mappings and lists in which one place holds something else."""
    content = copy.deepcopy(content)
    places = list(_places(content))
    if not places or rng.random() < 0.05:
        return odd[int(rng.integers(len(odd)))]
    holder, key = places[int(rng.integers(len(places)))]
    kind = rng.choice(["odd", "odd", "odd", "drop", "twice", "swap", "deep"])
    if kind == "drop":
        del holder[key]
    elif kind == "twice":
        if isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[f"{key}x"] = holder.pop(key)
    elif kind == "swap":
        other, place = places[int(rng.integers(len(places)))]
        holder[key] = copy.deepcopy(other[place])
    elif kind == "deep":
        for _ in range(int(rng.choice([3, 50]))):
            holder[key] = [holder[key]]
    else:
        holder[key] = odd[int(rng.integers(len(odd)))]
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of every value inside, a few of long lists."""
    keys: list = []
    if isinstance(content, dict):
        keys = list(content)
    elif isinstance(content, list):
        keys = list(range(min(len(content), 4)))
    for key in keys:
        yield content, key
        yield from _places(content[key])


def odd_tensors(like: torch.Tensor) -> list[Any]:
    """What may stand in a tensor's place, and should not."""
    values = like.detach().clone()
    found: list[Any] = [values.to_sparse() if values.ndim else values, values.bool(), values.long()]
    found += [values.to(torch.complex64), values.to(torch.int8), values[None], values.flatten()]
    if values.is_floating_point():
        found += [torch.full_like(values, number) for number in (torch.nan, torch.inf)]
    found += [torch.zeros(0), torch.tensor(3.0), torch.zeros(1).expand(10**6)]
    found += [torch.zeros(2, 2), torch.empty(3, device="meta"), values.half(), values.double()]
    return [*found, values.tolist() if values.numel() < 100 else [0.5], values.view(-1)[::2]]


def damage_content(rng: np.random.Generator, content: Any) -> Any:
    """What torch.save was given, with an odd value or tensor at one place."""
    places = [(h, k) for h, k in _places(content) if isinstance(h, dict | list)]
    tensors = [(h, k) for h, k in places if isinstance(h[k], torch.Tensor)]
    if not tensors or rng.random() < 0.5:
        return damage_value(rng, content, ODD)
    content = copy.copy(content)
    holder, key = tensors[int(rng.integers(len(tensors)))]
    odd = odd_tensors(holder[key])
    return _with(content, holder, key, odd[int(rng.integers(len(odd)))])


def _with(content: Any, holder: Any, key: Any, value: Any) -> Any:
    """A copy of `content` with another value at one place."""
    if content is holder:
        content = copy.copy(content)
        content[key] = value
    elif isinstance(content, dict):
        content = {k: _with(v, holder, key, value) for k, v in content.items()}
    elif isinstance(content, list):
        content = [_with(v, holder, key, value) for v in content]
    return content


class Refused(Exception):
    """A case went as none may; the message says which."""


@contextmanager
def watched(case: str, memory: int = MEMORY, seconds: int = SECONDS) -> Iterator[None]:
    """InputError with one fair line and SystemExit(2) pass; all else, and too much, is `Refused`.

    memory: bytes at most on top of what is held. Seconds are those of a busy machine: the bound
    is for what never ends.
    """

    def too_long(*_: object) -> None:
        raise Refused(f"{case}: more than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    resident, limits = _memory("VmRSS"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 4 * memory, limits[1]))
    _forget_peak()
    try:
        yield
    except InputError as error:
        _check_message(case, str(error))
    except SystemExit as error:
        if error.code != 2:
            raise Refused(f"{case}: exit {error.code!r}") from error
    except Refused:
        raise
    except BaseException as error:
        raise Refused(f"{case}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    if (taken := _memory("VmHWM") - resident) > memory:
        raise Refused(f"{case}: took {taken >> 20} MiB")


def _check_message(case: str, message: str) -> None:
    if not message.isprintable() or not 10 < len(message) < 2100:
        raise Refused(f"{case}: no fair line: {message[:200]!r} ({len(message)} characters)")


def _memory(kind: str) -> int:
    """Bytes, of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) << 10
    return 0


def _forget_peak() -> None:
    with suppress(OSError):  # then the peak is the process's, and the bound is loose
        Path("/proc/self/clear_refs").write_text("5")


def listing_of(folder: Path, but: tuple[str, ...] = ()) -> dict[str, tuple]:
    """What lies in a folder, to be compared: {path: (size, time of its last change)}."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] not in but and not path.is_dir():
            status = path.lstat()
            found[name] = (status.st_size, status.st_mtime_ns)
    return found
