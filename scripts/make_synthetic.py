"""Make scribbled data: COCO, DAVIS and Youtube-VOS trees of procedural scenes.

    python scripts/make_synthetic.py datasets/synthetic --seed 0 --size small

The same seed and size give the same bytes. A folder that was made with them already is kept.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from pathlib import Path

from rhmnet.errors import MOST_SEED, say
from rhmnet.files.concurrency import usable_cores
from rhmnet.runtime import MOST_WORKERS, CommandParser, run_command, whole
from rhmnet.tools.synthetic import SIZES, write_trees


def main() -> None:
    """Parse the command line and write the trees."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for COCO/, DAVIS/ and Youtube-VOS/")
    parser.add_argument(
        "--seed", type=whole(0, MOST_SEED), default=0, help="of everything drawn (default 0)"
    )
    sizes = "; ".join(
        f"{name}: {size.coco_images} images, {size.davis_train + size.youtube_train} training and "
        f"{size.davis_valid + size.youtube_valid} validation videos of {size.shape[1]}x"
        f"{size.shape[0]}"
        for name, size in SIZES.items()
    )
    parser.add_argument("--size", choices=SIZES, default="small", help=f"{sizes} (default small)")
    parser.add_argument(
        "--workers",
        type=whole(1, MOST_WORKERS),
        default=usable_cores(),
        help="processes (default: all cores)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace synthetic data of another seed or size"
    )
    arguments = parser.parse_args()
    write_trees(**vars(arguments))
    say(f"synthetic data ({arguments.size}, seed {arguments.seed}) is in {arguments.out}")


if __name__ == "__main__":
    run_command(main)
