"""Command lines that work, a small world of files for them, and what mends it after each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
from damage import listing_of
from davis_files import make_davis
from fuzz_samples import make_lists
from PIL import Image
from small import OVERRIDES, made_up_video, small_config, small_model

import rhmnet

SMALL = " ".join(OVERRIDES).replace(", ", ",")
LONG = {"benchmark": "scripts/benchmark.py", "training": "scripts/benchmark_training.py"}
LONG |= {"sensitivity": "scripts/scribble_sensitivity.py", "train": "train_video.py"}
"""Commands of which nothing but the numbers among the options is tried here: they take minutes."""
WORDS = (
    *("no/such", "s.png", "clip", "n" * 300, "n" * 250 + "/x", "a\0b", "", "a\nb", "caf\udce9"),
    *("/proc/none/x", "/dev/null", "-1", "nan", "--", "out/new/x.png", "s.png/x", "x" * 5000),
)
NUMBERS = ("", "x", "nan", "inf", "-inf", "1e30", "-1e30", "9" * 400, "0x10", "1_0", "٣", "1e-400")
OWN = ("out/", "done/", "evaluated/", "DAVIS/valid_scribbles", "results/", "tables/tables.md")
"""Where the command lines below write."""


class Command(NamedTuple):
    """A command line that works, and the files that it reads."""

    where: str
    """A script, or a module with a `main`."""
    words: str
    reads: tuple[str, ...] = ()
    """Patterns of files that are damaged."""


DAVIS_FILES = (
    *("DAVIS/ImageSets/2017/val.txt", "DAVIS/JPEGImages/480p/ant/*.jpg"),
    *("DAVIS/Annotations/480p/ant/*.png", "DAVIS/valid_scribbles0/ant.bmp"),
)
COMMANDS = {
    "segment": Command(
        "rhmnet.tools.segment.segment_command",
        "clip --scribble s.png --out out/s --checkpoint net.pth.tar --device cpu --summary",
        ("clip/*.png", "s.png", "net.pth.tar"),
    ),
    "segment resume": Command(
        "rhmnet.tools.segment.segment_command",
        "clip --scribble s.png --out done --checkpoint net.pth.tar --device cpu --summary --coco "
        "--objects --resume",
        ("done/**/*.*",),
    ),
    "segment stopped": Command(
        "rhmnet.tools.segment.segment_command",
        "clip --scribble two --out done --checkpoint net.pth.tar --device cpu --resume",
        ("done/.resume/**/*.*", "done/*.json*"),
    ),
    "make davis": Command(
        "rhmnet.tools.scribbles.make",
        "davis DAVIS --split val --sets 3 --overwrite --workers 1",
        DAVIS_FILES[:1] + DAVIS_FILES[2:3],
    ),
    "make coco": Command(
        "rhmnet.tools.scribbles.make",
        "coco out/coco --annotations lists/instances.json --workers 1 --min-area 1",
        ("lists/instances.json",),
    ),
    "make folder": Command(
        "rhmnet.tools.scribbles.make",
        "folder out/made --masks DAVIS/Annotations/480p --workers 1",
        DAVIS_FILES[2:3],
    ),
    "convert": Command(
        "rhmnet.tools.scribbles.convert",
        "lists/lines.svg out/a.bmp --size 36x24",
        ("lists/lines.svg",),
    ),
    "check": Command("rhmnet.tools.scribbles.check", "DAVIS --sheet out/sheet.png", DAVIS_FILES),
    "score": Command(
        "rhmnet.evaluation.report",
        "masks DAVIS --year 17 --workers 1 --out out/scores",
        ("masks/**/*.*", "DAVIS/Annotations/480p/ant/*.png", "DAVIS/ImageSets/2017/val.txt"),
    ),
    "config": Command("rhmnet.__main__", "config lists/config.yaml", ("lists/config.yaml",)),
    "make clips": Command(
        "rhmnet.tools.clips",
        "DAVIS out/clips --images JPEGImages/480p --masks Annotations/480p --count 1 --frames 3 "
        "--short-side 32 --workers 1",
        DAVIS_FILES[1:3],
    ),
    "eval_davis": Command(
        "eval_davis.py",
        f"--data-root DAVIS --save_path out --year 17 --checkpoint random --device cpu {SMALL}",
        DAVIS_FILES,
    ),
    "eval_davis again": Command(
        "eval_davis.py",
        "--data-root DAVIS --save_path evaluated --year 17 --checkpoint random --device cpu "
        f"{SMALL}",
        ("evaluated/**/*.*",),
    ),
    "eval_ytb": Command(
        "eval_ytb.py",
        f"--data-root data/Youtube-VOS --save_path out --checkpoint random --device cpu {SMALL}",
        ("data/Youtube-VOS/valid/**/*.*", "data/Youtube-VOS/valid_scribbles/**/*.*"),
    ),
    "tables": Command("scripts/tables.py", "tables", ("tables/*/x/scores.json",)),
    "show clips": Command(
        "scripts/show_clips.py",
        "--config video_training --stage pretrain --out out/x.png -n 1 --height 16 data.root=data "
        f"data.short_side=64 data.minimum_area=5 data.object_area=5 {SMALL}",
        ("data/COCO/COCO_scribbles.json", "data/COCO/images/*.jpg", "data/COCO/scribbles/*.bmp"),
    ),
    "make synthetic": Command("scripts/make_synthetic.py", "out/data --size tiny --workers 1"),
    "ship": Command("scripts/ship_checkpoint.py", "net.pth.tar out/x.pth.tar", ("net.pth.tar",)),
}


def make_world(world: Path, trees: Path) -> None:
    """Write files that all of the commands can do something with. trees: synthetic ones."""
    for name in ("clip", "two", "lists", "masks/ant", "masks/bee"):
        (world / name).mkdir(parents=True)
    images, labels = made_up_video(4, 33, 47, 2)
    for index, image in enumerate(images):
        cv2.imwrite(str(world / f"clip/{index}.png"), image[..., ::-1])
    Image.fromarray(labels).save(world / "s.png")
    for frame in (0, 3):
        Image.fromarray(labels).save(world / f"two/{frame}.png")
    config = small_config()
    rhmnet.save_checkpoint(world / "net.pth.tar", small_model(config), config, 1)
    make_lists(world / "lists")
    make_davis(world / "DAVIS", 2017)
    shutil.copytree(trees, world / "data")
    for path in (world / "DAVIS/Annotations/480p").rglob("*.png"):
        shutil.copy(path, world / "masks" / path.parent.name)
    manifest = {"made_by": {"weights": "x"}, "prompts": {"ant": "y", "bee": "z"}}
    (world / "masks/manifest.json").write_text(json.dumps({**manifest, "checkpoint": "s.png"}))
    mean = {"J&F-Mean": 0.5, "J-Mean": 0.5, "F-Mean": 0.25}
    report = {"videos": ["a"], "sets": {"x": 1, "y": 1}, "mean": mean, "std": mean}
    for row in ("davis16", "davis16_object1", "davis17"):
        (world / "tables" / row / "x").mkdir(parents=True)
        (world / "tables" / row / "x/scores.json").write_text(json.dumps(report))
    report = {"videos": ["a"], "overall": 0.5, "groups": {"seen": {"J": 0.5, "F": None}}}
    (world / "tables/youtube/x").mkdir(parents=True)
    (world / "tables/youtube/x/scores.json").write_text(json.dumps(report))


class World:
    """A copy of the files, to be hurt; mended after every case."""

    def __init__(self, pristine: Path, folder: Path) -> None:
        self.pristine, self.folder = pristine, folder
        shutil.copytree(pristine, folder, dirs_exist_ok=True)
        self.keep()

    def keep(self) -> None:
        """Take what is there now for whole."""
        self.whole = listing_of(self.folder)
        self.bytes = {name: (self.folder / name).read_bytes() for name in self.whole}
        self.folders = {path for path in self.folder.rglob("*") if path.is_dir()}

    def strays(self, allowed: tuple[str, ...]) -> list[str]:
        """Files that were changed, removed or made, but for those under `allowed`."""
        now = listing_of(self.folder)
        changed = [n for n in {*now, *self.whole} if now.get(n) != self.whole.get(n)]
        return [name for name in changed if not name.startswith(allowed)]

    def mend(self) -> None:
        """Put everything back as it was."""
        now = listing_of(self.folder)
        for name in now.keys() - self.whole.keys():
            (self.folder / name).unlink()
        for name, status in self.whole.items():
            if now.get(name) != status:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(self.bytes[name])
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and path not in self.folders:
                path.rmdir()
        self.whole = listing_of(self.folder)
