"""rhmnet and python -m rhmnet: the functions that scripts/ call, listed, with one-line errors."""

from __future__ import annotations

import errno
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import rhmnet
from rhmnet.__main__ import COMMANDS, main
from rhmnet.config import load_config
from rhmnet.errors import InputError
from rhmnet.runtime import run_command

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
OF_COMMAND = {
    "segment": "segment",
    "scribbles make": "make_scribbles",
    "scribbles convert": "convert_scribbles",
    "scribbles check": "check_scribbles",
    "clips make": "make_clips",
    "score": "score",
}


@pytest.mark.parametrize("name", OF_COMMAND)
def test_scripts_call_the_same_functions(name: str) -> None:
    (command,) = [one for one in COMMANDS if one.name == name]
    script = runpy.run_path(str(SCRIPTS / f"{OF_COMMAND[name]}.py"))
    assert script["main"] is import_module(f"rhmnet.{command.module}").main


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_names_the_command(command, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*command.name.split(), "--help"])
    told = capsys.readouterr().out
    assert told.startswith(f"usage: rhmnet {command.name} ")
    assert f"\n    rhmnet {command.name}" in told  # an example


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["scribbles", "--help"]])
def test_help_lists_all_with_an_example(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(words) == 0
    told = capsys.readouterr().out
    for command in COMMANDS:
        assert f"rhmnet {command.name} {command.example}" in told


def test_version_is_the_packages(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rhmnet {rhmnet.__version__}\n"


def test_config_prints_what_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    main(["config", "train.lr=2e-5", "pre_training", "test.max_memory_length=3"])
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    overrides = ["train.lr=2e-5", "test.max_memory_length=3"]
    assert load_config(path) == load_config("pre_training", overrides)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected a command, one of segment"),
        (["segmnt", "x"], "did you mean segment"),
        (["scribbles"], "did you mean scribbles"),
        (["scribbles", "mke"], "did you mean scribbles make"),
        (["zzz"], "expected one of segment"),
        (["config", "video_trainig"], "did you mean video_training"),
        (["config", "train.lrr=1"], "did you mean train.lr"),
    ],
)
def test_mistakes_are_told(words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        main(words)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ModuleNotFoundError("no", name="skimage.graph"), 2, "pip install 'rhmnet[scribbles]'"),
        (ModuleNotFoundError("no", name="tensorboard"), 2, "pip install 'rhmnet[train]'"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "cannot be written (No space"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    ],
    ids=["skimage", "tensorboard", "full", "closed"],
)
def test_what_surrounds_a_command_is_told_in_one_line(
    error: Exception, code: int, told: str
) -> None:
    program = (
        "import errno; from rhmnet.runtime import run_command\n"
        f"def main(): raise {type(error).__name__}(*{error.args!r}"
        + (f", name={error.name!r})" if isinstance(error, ModuleNotFoundError) else ")")
        + "\nrun_command(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == code
    assert told in done.stderr and done.stderr.count("\n") == bool(told)


def test_our_own_mistakes_keep_their_traceback() -> None:
    for error in (ModuleNotFoundError("no", name="rhmnet.x"), OSError(errno.ENOENT, "no", "file")):

        def fail(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)):
            run_command(fail)
