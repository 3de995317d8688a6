"""The wheel: what is in it, and that it works from another folder through the console command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import made_up_video

import rhmnet

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("rhmnet", "configs", "pyproject.toml", "README.md", "LICENSE")
WEIGHTS = "checkpoints/rhmnet_small.pth.tar"


def packages() -> set[str]:
    """Every folder of the package with a module in it, and the two from outside."""
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "rhmnet").rglob("*.py")}
    return {".".join(folder.parts) for folder in folders} | {"rhmnet.configs", "rhmnet.weights"}


def test_every_package_is_listed() -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert set(tomllib.load(file)["tool"]["setuptools"]["packages"]) == packages()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves folders behind."""
    pytest.importorskip("setuptools", "70.1")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, copy / part)
    (copy / "checkpoints").mkdir()
    shutil.copy(ROOT / WEIGHTS, copy / WEIGHTS)
    (copy / "checkpoints" / "mine.pth.tar").touch()  # must stay out
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_all_that_is_needed_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rhmnet").rglob("*.py")}
    configs = {f"rhmnet/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    page = (ROOT / "rhmnet" / "tools" / "canvas" / "static").iterdir()
    modules |= {path.relative_to(ROOT).as_posix() for path in page}
    wanted = modules | configs | {"rhmnet/py.typed", "rhmnet/weights/rhmnet_small.pth.tar"}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert wheel.name.startswith(f"rhmnet-{rhmnet.__version__}-")
    with zipfile.ZipFile(wheel) as content:
        metadata = next(name for name in names if name.endswith("/METADATA"))
        text = content.read(metadata).decode()
    needed = [line for line in text.splitlines() if line.startswith("Requires-Dist: ")]
    assert any("tensorboard" in line and "train" in line for line in needed)
    assert not any("tensorboard" in line and "extra" not in line for line in needed)


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console command of an environment that holds the wheel, and sees what it depends on."""
    folder = tmp_path_factory.mktemp("env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("[Ll]ib/**/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = next(folder.glob("*/python"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
    subprocess.run([*install, "--no-index", wheel], check=True)
    return next(folder.glob("*/rhmnet"))


def davis_tree(root: Path, images: np.ndarray, masks: np.ndarray) -> None:
    """One video in the layout of DAVIS-2017's validation set."""
    for part, suffix, frames in (
        ("JPEGImages", "jpg", images),
        ("Annotations", "png", masks),
    ):
        folder = root / part / "480p" / "one"
        folder.mkdir(parents=True)
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / f"{index:05d}.{suffix}")
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("one\n")


@pytest.mark.slow
def test_installed_it_works_from_another_folder(command: Path, tmp_path: Path) -> None:
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [command, *words], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    images, labels = made_up_video(3, 96, 128, 2)
    masks = np.where(labels == 255, 0, labels).astype(np.uint8)
    davis_tree(tmp_path / "DAVIS", images, np.stack([masks] * 3))

    assert run("--version").split() == ["rhmnet", rhmnet.__version__]
    for path in (ROOT / "configs").glob("*.yaml"):
        assert run("config", path.stem, "test.update_frequency=7").count("update_frequency: 7") == 1
    run("scribbles", "make", "davis", "DAVIS", "--split", "val", "--workers", "1")
    assert (tmp_path / "DAVIS/valid_scribbles0/one.bmp").is_file()
    run("scribbles", "convert", "DAVIS/valid_scribbles0", "lines", "--to", "svg")
    frames = "DAVIS/JPEGImages/480p/one"
    run(
        "segment",
        frames,
        "--scribble",
        "DAVIS/valid_scribbles0/one.bmp",
        *("--num-objects", "2"),  # as on disk, 3 is the background
        "--out",
        "results/one",
    )
    made = sorted(path.name for path in (tmp_path / "results/one/masks").iterdir())
    assert made == ["00000.png", "00001.png", "00002.png"]
    (tmp_path / "scored").mkdir()
    (tmp_path / "results/one/masks").rename(tmp_path / "scored/one")
    assert "J&F" in run("score", "scored", "DAVIS", "--year", "17")
