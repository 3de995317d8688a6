"""SVG's path data and transforms: curves to lines, transforms to matrices."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import numpy as np

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_TOKEN = re.compile(rf"([a-zA-Z])|({NUMBER.pattern})")
_COUNTS = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}
_CURVE_POINTS = 24  # of a curve, enough for one as long as an image's side


def flatten(data: str) -> list[np.ndarray]:
    """The lines of a path's `d`, curves as 24 pieces; float64 [P, 2] (x, y) each.

    Raises ValueError for what is no path data.
    """
    lines: list[list[np.ndarray]] = []
    here = start = np.zeros(2)
    control: tuple[str, np.ndarray] = ("", here)  # last control point, for smooth curves
    for letter, numbers in _commands(data):
        kind = letter.upper()
        base = here if letter.islower() else np.zeros(2)
        if kind == "M":
            here = start = base + numbers
            lines.append([here])
            continue
        if not lines:
            raise ValueError(f"path data {data[:30]!r} does not start with M")
        if len(lines[-1]) == 0:  # after Z a new line starts where the last one did
            lines[-1].append(here)
        bends: list[np.ndarray] = []
        if kind == "Z":
            end = start
        elif kind == "H":
            end = np.array([base[0] + numbers[0], here[1]])
        elif kind == "V":
            end = np.array([here[0], base[1] + numbers[0]])
        else:
            end = base + numbers[-2:]
        if kind in "CSQT":
            bends = [base + pair for pair in numbers[:-2].reshape(-1, 2)]
            if kind in "ST":
                family = "CS" if kind == "S" else "QT"
                mirrored = 2 * here - control[1] if control[0] and control[0] in family else here
                bends.insert(0, mirrored)
            control = (kind, bends[-1])
            lines[-1].extend(_bezier([here, *bends, end]))
        elif kind == "A":
            lines[-1].extend(_arc(here, end, *numbers[:5].tolist()))
        else:
            lines[-1].append(end)
        if kind not in "CSQT":
            control = ("", end)
        here = end
        if kind == "Z":
            lines.append([])
    return [np.array(line, np.float64) for line in lines if line]


def matrix(transform: str) -> np.ndarray:
    """float64 [3, 3] of a `transform` attribute; identity for an empty one."""
    total = np.eye(3)
    for name, inside in re.findall(r"(\w+)\s*\(([^)]*)\)", transform):
        v = [float(number) for number in NUMBER.findall(inside)]
        one = np.eye(3)
        if name == "matrix" and len(v) == 6:
            one[:2] = np.reshape(v, (3, 2)).T
        elif name == "translate" and v:
            one[:2, 2] = (v[0], v[1] if len(v) > 1 else 0)
        elif name == "scale" and v:
            one[0, 0], one[1, 1] = v[0], v[-1]
        elif name == "rotate" and v:
            cos, sin = math.cos(math.radians(v[0])), math.sin(math.radians(v[0]))
            one[:2, :2] = [[cos, -sin], [sin, cos]]
            if len(v) == 3:
                centre = np.array(v[1:])
                one[:2, 2] = centre - one[:2, :2] @ centre
        elif name in ("skewX", "skewY") and v:
            one[(0, 1) if name == "skewX" else (1, 0)] = math.tan(math.radians(v[0]))
        else:
            raise ValueError(f"transform {name}({inside}) is not known")
        total = total @ one
    return total


def _commands(data: str) -> list[tuple[str, np.ndarray]]:
    """Letters with their numbers; repeated numbers repeat the letter (M as L)."""
    if _TOKEN.sub("", data).strip(" ,\t\r\n"):
        raise ValueError(f"path data {data[:30]!r} is malformed")
    commands, letter, numbers = [], "", []
    for found, number in [*_TOKEN.findall(_spaced_flags(data)), ("Z", "")]:
        if not found:
            numbers.append(float(number))
            continue
        if letter:
            count = _COUNTS[letter.upper()]
            if (len(numbers) % count if count else len(numbers)) or (count and not numbers):
                raise ValueError(f"{letter} in path data has {len(numbers)} numbers")
            for i in range(0, max(len(numbers), 1), max(count, 1)):
                commands.append((letter, np.array(numbers[i : i + count])))
                letter = {"M": "L", "m": "l"}.get(letter, letter)
        elif numbers:
            raise ValueError(f"path data {data[:30]!r} does not start with a letter")
        letter, numbers = found, []
        if letter.upper() not in _COUNTS:
            raise ValueError(f"{letter} in path data is not a command")
    return commands


def _spaced_flags(data: str) -> str:
    """Path data with spaces after an arc's two flags, which may be written without any."""
    number = NUMBER.pattern
    arc = rf"((?:{number}[\s,]*){{3}})([01])[\s,]*([01])[\s,]*(?=[-+.\d])"
    return re.sub(r"[aA][^a-df-zA-DF-Z]*", lambda part: re.sub(arc, r"\1 \2 \3 ", part[0]), data)


def _bezier(points: list[np.ndarray]) -> list[np.ndarray]:
    """Points along a Bézier curve of any degree, without its start."""
    t = np.linspace(0, 1, _CURVE_POINTS + 1)[1:, None]
    level = [np.broadcast_to(point, (len(t), 2)) for point in points]
    while len(level) > 1:  # de Casteljau
        level = [(1 - t) * a + t * b for a, b in pairwise(level)]
    return list(level[0])


def _arc(
    start: np.ndarray,
    end: np.ndarray,
    rx: float,
    ry: float,
    angle: float,
    large: float,
    sweep: float,
) -> list[np.ndarray]:
    """Points along an elliptic arc, without its start (SVG 1.1, appendix F.6)."""
    if rx == 0 or ry == 0 or (start == end).all():
        return [end]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, sin], [-sin, cos]])
    radii = np.abs([rx, ry])
    half = turn @ (start - end) / 2
    radii = radii * max(1.0, float(np.hypot(*(half / radii))))
    unit = half / radii
    squared = float(unit @ unit)
    sign = -1 if bool(large) == bool(sweep) else 1
    offset = sign * math.sqrt(max(0.0, 1 / squared - 1)) * np.array([unit[1], -unit[0]])
    first, last = (math.atan2(*(v - offset)[::-1]) for v in (unit, -unit))
    span = (last - first) % (2 * math.pi) - (0 if sweep else 2 * math.pi)
    t = first + span * np.linspace(0, 1, _CURVE_POINTS + 1)[1:]
    circle = np.stack([np.cos(t), np.sin(t)], axis=1) + offset
    return list((circle * radii) @ turn + (start + end) / 2)
