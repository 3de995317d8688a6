"""Draw a contact sheet of training clips, as the loader makes them.

    python scripts/show_clips.py --config video_training --stage video --out clips.png -n 4

A row is a clip: its frames under the supervising strokes (background white), then the initial
scribble. Anything of the configuration can be set: data.root=PATH train.seed=7 data.minimum_area=20
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from pathlib import Path

import numpy as np
from PIL import Image

import rhmnet
from rhmnet.data import SampleKey
from rhmnet.data.loader import STAGES, build_dataset
from rhmnet.errors import InputError, say
from rhmnet.files.writing import write_picture
from rhmnet.runtime import CommandParser, run_command, whole
from rhmnet.structures import REDRAW_REASONS, Clip
from rhmnet.visualize import contact_sheet, draw_scribble


def main() -> None:
    """Parse the command line, make the clips, write the picture."""
    parser = CommandParser(settings=True, description=__doc__)
    parser.add_argument("--config", required=True, help="a name under configs/, or a file")
    parser.add_argument("--stage", choices=STAGES, required=True, help="whose clips to draw")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write (PNG)")
    parser.add_argument("-n", "--number", type=whole(1, 64), default=8, help="of clips (default 8)")
    parser.add_argument(
        "--epoch", type=whole(0, 10**6), default=0, help="whose clips to draw (default 0)"
    )
    parser.add_argument(
        "--skip", type=whole(0, 10**6), default=0, help="largest gap less one (default 0)"
    )
    parser.add_argument(
        "--height", type=whole(16, 1080), default=240, help="of a frame, pixels (default 240)"
    )
    arguments = parser.parse_args()
    if arguments.out.suffix != ".png":
        raise InputError(f"--out {arguments.out}: expected a name that ends in .png")
    config = rhmnet.load_config(arguments.config, arguments.overrides)
    dataset = build_dataset(config, arguments.stage)
    keys = [SampleKey(arguments.epoch, i, arguments.skip) for i in range(arguments.number)]
    clips = [dataset[key] for key in keys]
    cells = [cell for clip in clips for cell in draw_clip(clip)]
    pictures, captions = zip(*cells, strict=True)
    columns = config.data.clip_length + 1
    sheet = contact_sheet(pictures, captions, columns=columns, height=arguments.height)
    write_picture(arguments.out, Image.fromarray(sheet), "PNG")
    redraws = sum(clip.redraws[0] for clip in clips).tolist()
    counted = ", ".join(f"{n} {reason}" for n, reason in zip(redraws, REDRAW_REASONS, strict=True))
    say(f"{arguments.out}: {len(clips)} clips; rejected on the way: {counted}")


def draw_clip(clip: Clip) -> list[tuple[np.ndarray, str]]:
    """Pictures (uint8 [H, W, 3] RGB) and captions: each frame's strokes, then the initial scribble.

    clip: a batch of one.
    """
    frames = np.ascontiguousarray(clip.frames[0].permute(0, 2, 3, 1).numpy())
    cells = [
        (draw_scribble(frame, strokes), f"frame {index}")
        for index, (frame, strokes) in enumerate(
            zip(frames, clip.scribbles[0].numpy(), strict=True)
        )
    ]
    initial = draw_scribble(frames[0] // 3, clip.first_scribble[0].numpy())
    return [*cells, (initial, f"initial, {int(clip.num_objects[0])} obj.")]


if __name__ == "__main__":
    run_command(main)
