"""Options of `rhmnet segment`, and what they stand for."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rhmnet.config import SMALLEST_SIDE
from rhmnet.errors import InputError
from rhmnet.files.source import Source
from rhmnet.labels import MAX_OBJECTS
from rhmnet.runtime.command import CommandParser, real, whole
from rhmnet.tools.segment.overlay_video import CODECS
from rhmnet.tools.segment.strokes import Strokes


def parse(description: str, argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    """Read the command line; None: the process's own."""
    parser = CommandParser(prog, settings=True, description=description)
    add = parser.add_argument
    add("video", help="video file, folder of images, or a quoted pattern such as 'a/*.png'")
    strokes = parser.add_argument_group("strokes")
    add = strokes.add_argument
    add("--scribble", nargs="+", type=Path, required=True, metavar="FILE", help=_SCRIBBLE)
    add(
        "--frame",
        type=whole(0, 10**9),
        metavar="N",
        help="frame of a single map, from 0 (default: its name, else 0)",
    )
    add(
        "--num-objects",
        type=whole(1, MAX_OBJECTS),
        metavar="N",
        help="then N + 1 in a map is background, like 255",
    )
    add("--thickness", type=real(0.1, 1000), default=5.0, metavar="PIXELS", help=_THICKNESS)
    add("--resize-scribble", action="store_true", help="fit maps of another size to the video")
    add("--background-color", metavar="COLOR", help=_BACKGROUND_COLOR)
    network = parser.add_argument_group("network")
    add = network.add_argument
    add("--checkpoint", metavar="FILE", help=_CHECKPOINT)
    add("--config", help=_CONFIG)
    add("--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:N, mps")
    add("--size", type=whole(SMALLEST_SIDE, 8192, or_zero=True), metavar="PIXELS", help=_SIZE)
    results = parser.add_argument_group("results, beside OUT/masks/<frame>.png (palette)")
    add = results.add_argument
    add("--out", type=Path, help="folder (default: results/<name of the video>)")
    add("--overlay", nargs="?", const="mp4", choices=sorted(CODECS), help=_OVERLAY)
    add("--objects", action="store_true", help="OUT/objects/<object>/<frame>.png, 0 and 255")
    add("--cutouts", action="store_true", help="OUT/cutouts/<object>/<frame>.png, RGBA")
    add("--coco", action="store_true", help="OUT/coco.json, with RLE (needs pycocotools)")
    add("--summary", action="store_true", help="OUT/summary.json: areas, reliability, best stroke")
    add("--fps", type=real(0.01, 1000), help="of the overlay (default: the video's; images: 25)")
    add("--resume", action="store_true", help="go on where a run with the same options stopped")
    add("--overwrite", action="store_true", help="remove the masks in OUT and begin anew")
    args = parser.parse_args(argv)
    if args.size is not None:
        args.overrides.append(f"test.short_side={args.size}")
    if args.resume and args.overwrite:
        raise InputError("--resume and --overwrite: expected one of them")
    return args


_CHECKPOINT = "weights (default: `small`, the network that comes with the project)"
_CONFIG = (
    "name under configs/, or a YAML file: holds test.*, and all else where weights carry no "
    "configuration (default: what they carry, else video_training)"
)
_SCRIBBLE = (
    "painted strokes (a color for each object: on a transparent layer, on black or white, or over "
    "the frame), a label map (0 none, 1.. objects, 255 background), DAVIS JSON; or several "
    "pictures, or a folder of them, each named after its frame (as in 40.png)"
)
_BACKGROUND_COLOR = (
    "of painted background strokes, as white or '#ff8800'; none: no color is the background's "
    "(default: grey and white, on a transparent layer)"
)
_THICKNESS = "of JSON's lines, pixels at 480p (default 5)"
_SIZE = "test.short_side: larger frames are shrunk to it for the network (0: none)"
_OVERLAY = "OUT/overlay.mp4 (for VLC, mpv), or `--overlay webm` (for browsers, too)"


def manifest(
    source: Source, strokes: Strokes, size: tuple[int, int], made_by: dict[str, Any]
) -> dict[str, Any]:
    """All that masks depend on."""
    digest = hashlib.sha256()
    for frame, labels in strokes.maps.items():
        digest.update(f"{frame}\n".encode() + labels.tobytes())
    return {
        "video": source.identity(),
        "strokes": digest.hexdigest(),
        "objects": strokes.num_objects,
        "size": size,
        **made_by,
    }
