"""Every command on a disk that fills, or that may not be written: one line, nothing half written.

The one writer is made to fail after so many bytes; what lies there then is what a whole run writes.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from davis_files import load_script
from PIL import Image
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.errors import InputError
from rhmnet.evaluation import report, tracking
from rhmnet.files import writing
from rhmnet.files.concurrency import LOCK, WriteBehind
from rhmnet.files.images import write_map
from rhmnet.tools import synthetic as trees
from rhmnet.tools.clips import ClipRecipe, write_clips
from rhmnet.tools.clips.cut_outs import map_stills
from rhmnet.tools.scribbles import check as check_command
from rhmnet.tools.scribbles import convert as convert_command
from rhmnet.tools.scribbles import make as make_command
from rhmnet.tools.segment import exports, segment_command

SIZE = (48, 64)
FRAMES = 3
GROWING = ("statistics.jsonl", "state.pth", "manifest.json", "clips.json", LOCK)
"""What a run has not come to the end of tells so."""


class Nothing:
    """A tracker that sees no object."""

    def __init__(self, *_: object) -> None:
        pass

    def start(self, image: np.ndarray, *_: object, **__: object) -> types.SimpleNamespace:
        return types.SimpleNamespace(labels=torch.zeros(image.shape[:2], dtype=torch.uint8))

    step = start


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with strokes and a checkpoint, stills with masks, an archive of scribbles."""
    place = tmp_path_factory.mktemp("inputs")
    images, labels = made_up_video(FRAMES, *SIZE, 2)
    for folder in ("clip", "images", "masks", "archive/DAVIS/train_scribbles/v"):
        (place / folder).mkdir(parents=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(place / "clip" / f"{index}.png"), image[..., ::-1])
        cv2.imwrite(str(place / "images" / f"{index}.png"), image[..., ::-1])
        outline = np.zeros(SIZE, np.uint8)
        outline[8:36, 10 + 4 * index : 40] = 1
        Image.fromarray(outline).save(place / "masks" / f"{index}.png")
        Image.fromarray(labels).save(place / "archive/DAVIS/train_scribbles/v" / f"{index}.bmp")
    Image.fromarray(labels).save(place / "1.png")
    config = small_config("test.max_memory_length=2")
    rhmnet.save_checkpoint(place / "a.pth.tar", small_model(config), config, 1)
    return place


def segment(place: Path, out: Path) -> None:
    kinds = ["--overlay", "--objects", "--cutouts", "--summary", "--resume"]
    weights = ["--checkpoint", str(place / "a.pth.tar"), "--device", "cpu"]
    words = [str(place / "clip"), "--scribble", str(place / "1.png"), *weights, *kinds]
    segment_command.main([*words, "--out", str(out / "x")])


def make(place: Path, out: Path) -> None:
    masks = str(place / "masks")
    make_command.main(["folder", str(out / "s"), "--masks", masks, "--sets", "2", "--workers", "1"])


def convert(place: Path, out: Path) -> None:
    for kind in ("bmp", "png", "saliency", "davis", "labelme", "svg"):
        convert_command.main([str(place / "1.png"), str(out / kind), "--to", kind])


def check(place: Path, out: Path) -> None:
    own = ["--images", str(place / "images"), "--scribbles", str(place / "masks")]
    check_command.main([*own, "--sheet", str(out / "sheet.png")])


def arrange(place: Path, out: Path) -> None:
    (out / "data").mkdir(parents=True, exist_ok=True)
    words = [str(out / "data"), "--arrange", str(place / "archive"), "--copy"]
    check_command.main([*words, "--sheet", str(out / "sheet.png")])


def clips(place: Path, out: Path) -> None:
    stills = map_stills(place / "masks", place / "images")
    write_clips(stills, out / "c", 2, ClipRecipe(frames=2, short_side=64))


def synthetic(place: Path, out: Path) -> None:
    trees.write_trees(out / "data", seed=0, size="speck")


def script(name: str, *words: str) -> None:
    program = load_script(name)
    sys.argv = [name, *words]
    program.main()


def ship(place: Path, out: Path) -> None:
    script("scripts/ship_checkpoint.py", str(place / "a.pth.tar"), str(out / "s.pth.tar"))


COMMANDS: dict[str, Callable[[Path, Path], None]] = {
    one.__name__: one for one in (segment, make, convert, check, arrange, clips, synthetic, ship)
}
EVALUATIONS = {
    "eval_davis": ["eval_davis.py", "--groups", "0", "--overlay", "DAVIS"],
    "eval_ytb": ["eval_ytb.py", "--zip", "--overlay", "Youtube-VOS"],
    "sensitivity": [
        *("scripts/scribble_sensitivity.py", "--draws", "1", "--coverage", "1"),
        *("--thickness", "4", "DAVIS"),
    ],
}


def evaluation(name: str, data: Path) -> Callable[[Path, Path], None]:
    program, *options, tree = EVALUATIONS[name]
    options += ["--checkpoint", "random", "--device", "cpu", "--data-root", str(data / tree)]
    options += ["--config", "video_training", "model.pretrained=none"]

    def run(_: Path, out: Path) -> None:
        script(program, *options, "--save_path", str(out))

    return run


@pytest.fixture(params=[*COMMANDS, *EVALUATIONS, "score"])
def command(
    request: pytest.FixtureRequest, tiny_trees: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, Path], None]:
    """run(inputs, out): a command that writes into a folder."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setitem(trees.SIZES, "speck", trees.Size((48, 80), 1, 1, 1, 3, 1, 1, 3))
    if request.param in COMMANDS:
        return COMMANDS[request.param]
    davis = tiny_trees / "DAVIS"
    if request.param == "score":
        words = [str(davis / "Annotations" / "480p"), str(davis), "--workers", "1", "--out"]
        return lambda _, out: report.main([*words, str(out)])
    monkeypatch.setattr(rhmnet, "Tracker", Nothing)
    monkeypatch.setattr(tracking, "build_untrained", lambda config: torch.nn.Identity())
    return evaluation(request.param, tiny_trees)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_what_stands_is_whole_and_a_later_run_completes_it(
    command: Callable, place: Path, tmp_path: Path, fill_disk: Callable[..., list[int]]
) -> None:
    room = 10**12
    left = fill_disk(room)
    command(place, tmp_path / "whole")
    wanted, total = digests(tmp_path / "whole"), room - left[0]
    assert wanted and total
    faults = ((0, errno.EACCES), (0.45, errno.ENOSPC), (1, errno.ENOSPC))
    for number, (share, code) in enumerate(faults):
        out = tmp_path / str(number)
        fill_disk(int(share * (total - 1)), code)
        with pytest.raises(InputError, match="cannot be written") as error:
            command(place, out)
        assert str(out) in str(error.value)
        assert not [path for path in out.rglob("*") if fnmatch(path.name, writing.TEMPORARY)]
        for name, digest in digests(out).items():
            assert Path(name).name in GROWING or wanted[name] == digest
        fill_disk(room)
        command(place, out)
        found = digests(out)  # statistics of frames that were tracked twice stand there twice
        assert found.keys() == wanted.keys()
        differing = {Path(name).name for name in found if found[name] != wanted[name]}
        assert differing <= {"statistics.jsonl"}


VideoWriter = cv2.VideoWriter


class Forgetful:
    """OpenCV's writer of videos on a disk that is full after a frame: it says nothing."""

    def __init__(self, *arguments: object) -> None:
        self._video = VideoWriter(*arguments)
        self._room = 1
        self.isOpened, self.release = self._video.isOpened, self._video.release

    def write(self, frame: np.ndarray) -> None:
        if self._room:
            self._video.write(frame)
            self._room -= 1


@pytest.mark.parametrize("kind", exports.CODECS)
def test_an_overlay_that_lacks_frames_is_none(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / f"overlay.{kind}"
    black = np.zeros((*SIZE, 3), np.uint8)

    def write(frames: int) -> None:
        with WriteBehind(1, 1) as writer, exports.OverlayVideo(path, 25, SIZE, {}) as video:
            for _ in range(frames):
                video.add(writer, "", black, black[..., 0])

    write(3)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(exports.cv2, "VideoWriter", Forgetful)
        with pytest.raises(InputError, match="1 of its 4 frames"):
            write(4)
    with pytest.raises(ZeroDivisionError), exports.OverlayVideo(path, 25, SIZE, {}):
        1 / 0  # noqa: B018
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr().err == ""  # OpenCV's notice about webm


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A real file system of 8 KiB; skips where none can be mounted."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    mounted = False
    try:
        mounted = (
            shutil.which("mount") is not None
            and not subprocess.run(mount, capture_output=True).returncode
        )
        if not mounted:
            pytest.skip("no file system can be mounted here")
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_real_disk_that_is_full(small_disk: Path) -> None:
    labels = np.arange(60 * 80, dtype=np.uint8).reshape(60, 80)
    write_map(small_disk / "0.bmp", labels[:40])
    with pytest.raises(InputError, match=r"1.bmp: cannot be written \(No space left.*make room"):
        write_map(small_disk / "1.bmp", labels)
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for kind in exports.CODECS:
        path = small_disk / f"overlay.{kind}"
        with (
            pytest.raises(InputError, match=f"{path}: cannot be written"),
            WriteBehind(1, 1) as writer,
            exports.OverlayVideo(path, 25, SIZE, {}) as video,
        ):
            for _ in range(20):
                video.add(writer, "", noise, labels[: SIZE[0], : SIZE[1]])
    assert [path.name for path in small_disk.iterdir()] == ["0.bmp"]
