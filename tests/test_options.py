"""The parser of all commands: settings anywhere, empty words, bounds of numbers, `--`."""

from __future__ import annotations

from pathlib import Path

import pytest

from rhmnet.config import Config
from rhmnet.errors import InputError
from rhmnet.runtime import GROUPS, CommandParser, real, whole
from rhmnet.tools.segment.segment_command import main as segment
from rhmnet.training.run import parse_options


def parser() -> CommandParser:
    made = CommandParser("tool", settings=True, description="What it does.")
    made.add_argument("video")
    made.add_argument("--scribble", nargs="+", type=Path)
    made.add_argument("--overlay", nargs="?", const="mp4", choices=("mp4", "webm"))
    made.add_argument("--out", type=Path)
    made.add_argument("--count", type=whole(1, 253), help="how many")
    made.add_argument("--rate", type=real(0, 1), help="how fast")
    return made


SETTING = "test.precision=bfloat16"


@pytest.mark.parametrize("place", range(8))
def test_a_setting_may_stand_anywhere(place: int) -> None:
    words = ["v.mp4", "--overlay", "--scribble", "a.png", "b.png", "--out", "o"]
    words.insert(place, SETTING)
    if place in (6, 7):  # between an option and its value, and at the end
        words = [*words[:5], "--out", SETTING, "o"] if place == 6 else words
    given = parser().parse_args(words)
    assert given.overrides == [SETTING]
    assert (given.video, given.overlay, given.out) == ("v.mp4", "mp4", Path("o"))
    assert given.scribble == [Path("a.png"), Path("b.png")]


def test_settings_keep_their_order_and_files_that_look_like_them_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.b=c.png").touch()
    words = ["data.root=x", "v", "--scribble", "s.png", "a.b=c.png", "tset.x=1", "--out", "p.q=r"]
    given = parser().parse_args(words)
    assert given.overrides == ["data.root=x", "tset.x=1"]  # the second is refused by its name later
    assert given.scribble == [Path("s.png"), Path("a.b=c.png")] and given.out == Path("p.q=r")


def test_groups_are_the_configurations() -> None:
    assert tuple(vars(Config())) == GROUPS


def test_what_follows_two_dashes_is_no_option() -> None:
    given = parser().parse_args(["--scribble", "s.png", "--", "-dash.mp4"])
    assert given.video == "-dash.mp4" and given.scribble == [Path("s.png")]
    given = parser().parse_args([SETTING, "--scribble", "s.png", "--", "--out"])
    assert given.video == "--out" and given.overrides == [SETTING]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([""], "argument 1: expected a value"),
        (["v", "--out", ""], "--out: expected a value, found an empty one"),
        (["v", "--out="], "--out: expected a value"),
        (["v", "--count", "0"], "--count: '0': expected 1 to 253"),
        (["v", "--count", "254"], "--count: '254': expected 1 to 253"),
        (["v", "--count", "-3"], "--count: '-3': expected 1 to 253"),
        (["v", "--count", "1.5"], "--count: '1.5': expected 1 to 253"),
        (["v", "--count", "1_0"], "--count: '1_0': expected 1 to 253"),
        (["v", "--count", "9" * 5000], "expected 1 to 253"),
        (["v", "--rate", "inf"], "--rate: 'inf': expected 0 to 1"),
        (["v", "--rate", "nan"], "--rate: 'nan': expected 0 to 1"),
        (["v", "--rate", "1e30"], "--rate: '1e30': expected 0 to 1"),
        (["v", "--rate", "fast"], "--rate: 'fast': expected 0 to 1"),
        (["v", "w"], "unrecognized arguments: w"),
        (["v", "two\nlines"], "unrecognized arguments: two lines"),
        (["--out", "o"], "the following arguments are required: video"),
    ],
)
def test_mistakes_are_one_line(words: list[str], told: str) -> None:
    with pytest.raises(InputError) as error:
        parser().parse_args(words)
    message = str(error.value)
    assert told in message and "\n" not in message and len(message) < 200


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--size", "64", "test.short_side=32"], "--size and test.short_side: expected one"),
        (["--resume", "--overwrite"], "--resume and --overwrite: expected one"),
    ],
)
def test_segment_takes_one_of_two_that_say_the_same(words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        segment(["video.mp4", "--scribble", "strokes.png", *words])


def test_help_shows_bounds(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "how many [1 to 253]" in shown and "how fast [0 to 1]" in shown
    assert "rhmnet config" in shown


def test_training_takes_settings_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train.lr=1e-3", "--config", "pre_training", "train.epochs=2", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["train_video.py", *words])
    options = parse_options("What it does.", default_config="video_training")
    assert (options.config.train.lr, options.config.train.epochs) == (1e-3, 2)
    assert options.name == "pre_training" and options.device == "cpu"


@pytest.mark.parametrize(
    "words", [["a" * 256], ["v", "--out", "x/" + "ä" * 128], ["v", "--out", "a/" * 3000], ["a\0b"]]
)
def test_what_no_file_system_holds_is_refused_before_anything_looks(words: list[str]) -> None:
    with pytest.raises(InputError, match=r"at most 255 in 4095|zero byte") as error:
        parser().parse_args(words)
    assert len(str(error.value)) < 250
    assert parser().parse_args(["x/" + "a" * 255]).video
