"""DAVIS' interactive JSON: a list of lines for each frame, coordinates from 0 to 1.

Coordinates are fractions of the way from the first pixel's centre to the last one's. Two keys are
ours, and other tools leave them alone: `size` ([H, W]) of the image, `thickness` of a line.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.scribbles.drawing import Drawing, Stroke

_KNOWN = {"path", "object_id", "thickness"}
_INSIDE = 0.01  # pixels added when writing, so that tools that cut off decimals get the same pixel


def read(path: Path, size: tuple[int, int] | None = None) -> dict[int, Drawing]:
    """The drawings of all frames that have strokes, by frame number.

    size: H, W of the frames, for files that do not say it.
    Raises InputError that names the file, and the line, for anything else.
    """
    content = read_json(path)
    try:
        frames, said = content["scribbles"], content.get("size")
        if not isinstance(frames, list) or not all(isinstance(lines, list) for lines in frames):
            raise KeyError("scribbles")
        size = size or (tuple(int(side) for side in said) if said else None)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f'{path}: not DAVIS scribbles; expected {{"scribbles": [[line, ...] of each frame]}}'
        ) from None
    if size is None:
        raise InputError(f"{path}: does not say the size of its frames; give --size WIDTHxHEIGHT")
    drawings = {}
    for number, lines in enumerate(frames):
        if lines:
            strokes = [_stroke(path, number, i, line, size) for i, line in enumerate(lines)]
            extra = sorted({key for line in lines for key in line} - _KNOWN)
            dropped = [f"{key} of lines" for key in extra]
            drawings[number] = Drawing(size, strokes, dropped)
    if not drawings:
        raise InputError(f"{path}: holds no strokes; expected lines for at least one frame")
    return drawings


def annotated_frame(path: Path) -> int | None:
    """The frame that the file calls annotated, if it does."""
    frame = read_json(path).get("annotated_frame")
    return frame if isinstance(frame, int) else None


def write(path: Path, drawing: Drawing, sequence: str = "", frame: int = 0) -> None:
    """Write one frame's drawing. sequence: the video's name. frame: its number in the video."""
    height, width = drawing.size
    scale = np.maximum([width - 1, height - 1], 1)
    lines = [
        {
            "path": np.minimum((stroke.points + _INSIDE) / scale, 1).tolist(),
            "object_id": stroke.object_id,
            "thickness": stroke.thickness,
        }
        for stroke in drawing.strokes
    ]
    content = {
        "sequence": sequence,
        "annotated_frame": frame,
        "size": [height, width],
        "scribbles": [[] for _ in range(frame)] + [lines],
    }
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """A JSON object; raises InputError that names the file for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); replace the file") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _stroke(path: Path, frame: int, index: int, line: dict, size: tuple[int, int]) -> Stroke:
    try:
        points = np.array(line["path"], np.float64).reshape(-1, 2)
        object_id = int(line["object_id"])
        inside = len(points) > 0 and points.min() >= 0 and points.max() <= 1
        if not inside or object_id < 0:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: line {index} of frame {frame}: expected path [[x, y], ...] in 0..1 and "
            "object_id, 0 for background"
        ) from None
    points = points * np.maximum([size[1] - 1, size[0] - 1], 1)
    thickness = line.get("thickness")
    # a path stands for pixels, as the challenge's own tools take it
    return Stroke(object_id, np.floor(points + 0.5), thickness)
