"""Options of all commands take odd words, their files damage: done right, or exit 2 and one line.

All in this process, so that hundreds of cases take minutes: `main` of each command in a small world
of files, of which nothing outside of the output folder may change.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damage_bytes, damage_json, damage_text, listing_of, watched
from davis_files import FakeTracker, load_script
from fuzz_world import COMMANDS, OWN, World, make_world

import rhmnet
from rhmnet.errors import InputError
from rhmnet.runtime import CommandParser, Number

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
    make_world(world, tiny_trees)
    return world


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


def run(name: str, words: list[str], world: World, told: str, odd: tuple[str, ...] = ()) -> bool:
    """One case: refused in one line or done, and nothing changed but what is the command's own.

    odd: words that may name where to write. Returns whether it was done.
    """
    done = False
    with watched(told):
        code = main_of(COMMANDS[name].where)(words)
        assert code in (None, 0) or (name == "check" and code == 1), code
        done = True
    strays = world.strays((*OWN, *odd))
    assert not strays, f"{told}: {strays}"
    return done


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


def masks_of(world: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in world.folder.glob("done/masks/*.png")}


def try_files(name: str, world: World, seeds: range) -> None:
    command = COMMANDS[name]
    files = [p for pattern in command.reads for p in sorted(world.folder.glob(pattern))]
    files = [path for path in files if path.is_file()]
    others = [(world.folder / n).read_bytes() for n in ("s.png", "lists/meta.json", "clip/0.png")]
    if name == "segment stopped":
        assert run(name, command.words.split(), world, "whole")
        expected = masks_of(world)
        world.mend()
    for seed in seeds:
        path = files[seed % len(files)]
        rng = np.random.default_rng([9, seed])
        path.write_bytes(damage_of(path)(rng, path.read_bytes(), others))
        world.whole = listing_of(world.folder)
        told = f"{name} {seed}: {path.relative_to(world.folder)}"
        done = run(name, command.words.split(), world, told)
        if done and name == "segment stopped":
            assert masks_of(world) == expected, told
        world.whole.pop(path.relative_to(world.folder).as_posix())
        world.whole[path.relative_to(world.folder).as_posix()] = (-1, -1)
        world.mend()


def prepare(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run has left, where a command goes on."""
    if name.startswith("eval"):
        monkeypatch.setattr(rhmnet, "Tracker", Silent)
    words = [word for word in COMMANDS[name].words.split() if word != "--resume"]
    if name == "segment stopped":
        with monkeypatch.context() as patched:
            patched.setattr(rhmnet.Tracker, "step", stopping_at(4))
            assert main_of(COMMANDS[name].where)(words) == 130
    elif name in ("segment resume", "eval_davis again"):
        assert main_of(COMMANDS[name].where)(words) in (None, 0)
    world.keep()


def stopping_at(number: int) -> Callable[..., object]:
    """`Tracker.step` during whose call of this number Ctrl-C is pressed."""
    step, count = rhmnet.Tracker.step, itertools.count(1)

    def pressed(*given: object) -> object:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*given)

    return pressed


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
