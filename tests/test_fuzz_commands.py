"""Options of all commands take odd words, their files damage: done right, or exit 2 and one line.

All in this process, so that hundreds of cases take minutes: `main` of each command in a small world
of files, of which nothing outside of the output folder may change.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from damage import damage_bytes, damage_json, damage_text, listing_of, watched
from davis_files import FakeTracker, load_script, make_davis
from fuzz_samples import make_lists
from PIL import Image
from small import OVERRIDES, made_up_video, small_config, small_model

import rhmnet
from rhmnet.errors import InputError
from rhmnet.runtime.options import CommandParser, Number

SMALL = " ".join(OVERRIDES).replace(", ", ",")
OWN = ("out/", "done/", "evaluated/", "DAVIS/valid_scribbles", "results/")
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
    "make davis": Command(
        "rhmnet.tools.scribbles.make_command",
        "davis DAVIS --split val --sets 3 --overwrite --workers 1",
        DAVIS_FILES[:1] + DAVIS_FILES[2:3],
    ),
    "make coco": Command(
        "rhmnet.tools.scribbles.make_command",
        "coco out/coco --annotations lists/instances.json --workers 1 --min-area 1",
        ("lists/instances.json",),
    ),
    "make folder": Command(
        "rhmnet.tools.scribbles.make_command",
        "folder out/made --masks DAVIS/Annotations/480p --workers 1",
        DAVIS_FILES[2:3],
    ),
    "convert": Command(
        "rhmnet.tools.scribbles.convert_command",
        "lists/lines.svg out/a.bmp --size 36x24",
        ("lists/lines.svg",),
    ),
    "check": Command(
        "rhmnet.tools.scribbles.check.check_command", "DAVIS --sheet out/sheet.png", DAVIS_FILES
    ),
    "score": Command(
        "rhmnet.evaluation.score_command",
        "masks DAVIS --year 17 --workers 1 --out out/scores",
        ("masks/**/*.*", "DAVIS/Annotations/480p/ant/*.png", "DAVIS/ImageSets/2017/val.txt"),
    ),
    "config": Command("rhmnet.config_command", "lists/config.yaml", ("lists/config.yaml",)),
    "make clips": Command(
        "rhmnet.tools.clips.command",
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


LONG = {"benchmark": "scripts/benchmark.py", "training": "scripts/benchmark_training.py"}
LONG |= {"sensitivity": "scripts/scribble_sensitivity.py", "train": "train_video.py"}
"""Commands of which nothing but the numbers among the options is tried here: they take minutes."""
WORDS = (
    *("no/such", "s.png", "clip", "n" * 300, "n" * 250 + "/x", "a\0b", "", "a\nb", "caf\udce9"),
    *("/proc/none/x", "/dev/null", "-1", "nan", "--", "out/new/x.png", "s.png/x", "x" * 5000),
)
NUMBERS = ("", "x", "nan", "inf", "-inf", "1e30", "-1e30", "9" * 400, "0x10", "1_0", "٣", "1e-400")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, tiny_trees: Path) -> Path:
    """Files that all commands can do something with."""
    world = tmp_path_factory.mktemp("pristine") / "world"
    for name in ("clip", "lists", "masks/ant", "masks/bee"):
        (world / name).mkdir(parents=True)
    images, labels = made_up_video(4, 33, 47, 2)
    for index, image in enumerate(images):
        cv2.imwrite(str(world / f"clip/{index}.png"), image[..., ::-1])
    Image.fromarray(labels).save(world / "s.png")
    config = small_config()
    rhmnet.save_checkpoint(world / "net.pth.tar", small_model(config), config, 1)
    make_lists(world / "lists")
    make_davis(world / "DAVIS", 2017)
    shutil.copytree(tiny_trees, world / "data")
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
    return world


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


@pytest.fixture
def world(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world as the current folder, in one of its own, and evaluations that track nothing."""
    (tmp_path / "around").mkdir()
    world = World(pristine, tmp_path / "around/world")
    monkeypatch.chdir(world.folder)
    yield world


class Silent(FakeTracker):
    """Follows objects of any video: nowhere."""

    def step(self, image: np.ndarray, scribble: object = None) -> Any:
        return argparse.Namespace(labels=rhmnet.tracker.torch.zeros(image.shape[:2]).byte())


def main_of(where: str) -> Callable[[list[str]], object]:
    """The command's `main`, called with words."""
    if not where.endswith(".py"):
        return importlib.import_module(where).main
    script = load_script(where)

    def main(words: list[str]) -> object:
        before, sys.argv = sys.argv, [where, *words]
        try:
            return script.main()
        finally:
            sys.argv = before

    return main


def parser_of(where: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> CommandParser:
    """The parser that a command's words are read by."""
    found: list[CommandParser] = []

    def catch(self: CommandParser, *_: object) -> None:
        found.append(self)
        raise InputError("caught")

    with monkeypatch.context() as patched:
        patched.setattr(CommandParser, "parse_args", catch)
        with pytest.raises(InputError, match="caught"):
            main_of(where)(words)
    for action in found[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices[words[0]]
    return found[0]


def run(name: str, words: list[str], world: World, told: str, odd: tuple[str, ...] = ()) -> None:
    """One case: refused in one line or done, and nothing changed but what is the command's own.

    odd: words that may name where to write.
    """
    with watched(told):
        code = main_of(COMMANDS[name].where)(words)
        assert code in (None, 0) or (name == "check" and code == 1), code
    strays = world.strays((*OWN, *odd))
    assert not strays, f"{told}: {strays}"


def numbers_of(action: argparse.Action) -> tuple[str, ...]:
    """Words that are no number within an option's bounds."""
    bounds = action.type.bounds
    beyond = [bounds.least - 1, bounds.most * 2 + 1, -bounds.most - 1]
    beyond = [str(value) for value in beyond if not bounds.holds(value)]
    return (*NUMBERS, *beyond)


@pytest.mark.parametrize("where", sorted({*LONG.values(), *(c.where for c in COMMANDS.values())}))
def test_numbers_out_of_bounds(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [one.words.split() for one in COMMANDS.values() if one.where == where] or [[]]
    for words in lines:
        parser = parser_of(where, words, monkeypatch)
        for action in parser._actions:
            if isinstance(action.type, Number):
                for word in numbers_of(action):
                    with pytest.raises(InputError):
                        main_of(where)([*words, action.option_strings[-1], word])


def lines_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The command's line with each of its words, and each option's value, replaced by odd ones."""
    command = COMMANDS[name]
    words = command.words.split()
    parser = parser_of(command.where, words, monkeypatch)
    for word in WORDS:
        for index, old in enumerate(words):
            if not old.startswith("-"):
                yield word, [*words[:index], word, *words[index + 1 :]]
        for action in parser._actions:
            if action.option_strings and action.nargs != 0 and not isinstance(action.type, Number):
                yield word, [*words, action.option_strings[-1], word]


def try_options(name: str, world: World, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    for odd, words in [*lines_of(name, monkeypatch)][::step]:
        run(name, words, world, f"{name} {[word[:60] for word in words]!r}", (odd,) if odd else ())
        world.mend()


def damage_of(path: Path) -> Callable[..., bytes]:
    if path.suffix == ".json":
        return damage_json
    return damage_text if path.suffix in (".txt", ".yaml", ".svg", ".jsonl") else damage_bytes


def try_files(name: str, world: World, seeds: range) -> None:
    command = COMMANDS[name]
    files = [p for pattern in command.reads for p in sorted(world.folder.glob(pattern))]
    files = [path for path in files if path.is_file()]
    others = [(world.folder / n).read_bytes() for n in ("s.png", "lists/meta.json", "clip/0.png")]
    for seed in seeds:
        path = files[seed % len(files)]
        rng = np.random.default_rng([9, seed])
        path.write_bytes(damage_of(path)(rng, path.read_bytes(), others))
        world.whole = listing_of(world.folder)
        told = f"{name} {seed}: {path.relative_to(world.folder)}"
        run(name, command.words.split(), world, told)
        world.whole.pop(path.relative_to(world.folder).as_posix())
        world.whole[path.relative_to(world.folder).as_posix()] = (-1, -1)
        world.mend()


def prepare(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run has left, where a command goes on."""
    if name.startswith("eval"):
        monkeypatch.setattr(rhmnet, "Tracker", Silent)
    if name in ("segment resume", "eval_davis again"):
        words = [word for word in COMMANDS[name].words.split() if word != "--resume"]
        assert main_of(COMMANDS[name].where)(words) in (None, 0)
        world.keep()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_odd_words(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(name, world, monkeypatch)
    try_options(name, world, monkeypatch, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].reads])
def test_damaged_files(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(name, world, monkeypatch)
    try_files(name, world, range(40))
