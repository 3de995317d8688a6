"""The command `canvas`: what it takes, where it listens, which videos it finds."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from canvas_server import write_frames

from rhmnet.errors import InputError
from rhmnet.files.source import find_videos
from rhmnet.tools import canvas as canvas_command
from rhmnet.tools.canvas import hosts_of, listen, main, parse
from rhmnet.tools.canvas.request_guard import shown_in_browser


def test_others_are_let_in_on_demand_alone() -> None:
    for host in ("0.0.0.0", "192.168.1.7", "::", "lab.example"):
        with pytest.raises(InputError, match="allow-remote"):
            parse(["x.mp4", "--host", host], "canvas")
        assert parse(["x.mp4", "--host", host, "--allow-remote"], "canvas").host == host
    assert parse(["x.mp4"], "canvas").host == "127.0.0.1"


@pytest.mark.parametrize("words", [[], ["--demo", "x.mp4"], ["x.mp4", "--port", "70000"]])
def test_other_command_lines_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError):
        parse(words, "canvas")


def test_a_taken_port_gives_the_next_free_one_and_says_so() -> None:
    first, said = listen("127.0.0.1", 0)
    assert said is None
    port = first.getsockname()[1]
    try:
        second, said = listen("127.0.0.1", port)
        second.close()
        assert second is not first and f"port {port} is taken" in said
    finally:
        first.close()
    with pytest.raises(InputError, match="--host"):
        listen("203.0.113.1", 0)  # of no machine: kept for documents


def test_the_browser_is_led_by_a_file_of_its_user_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    link = "http://127.0.0.1:8765/#a-secret-token"
    with shown_in_browser(link, tmp_path):
        (path,) = tmp_path.iterdir()
        assert opened == [path.as_uri()] and "secret" not in opened[0]
        assert path.stat().st_mode & 0o777 == 0o600 and link in path.read_text()
    assert not [*tmp_path.iterdir()]
    with shown_in_browser(link, tmp_path / "not there"):  # the system's own folder does
        assert "secret" not in opened[1]


def test_hosts_are_exact() -> None:
    plain = hosts_of(parse(["x"], "canvas"), 8765)
    assert plain == ["127.0.0.1:8765", "localhost:8765", "[::1]:8765"]
    words = ["x", "--host", "0.0.0.0", "--allow-remote", "--origin", "localhost:9000"]
    assert hosts_of(parse(words, "canvas"), 80)[3:] == [
        f"{socket.gethostname()}:80",
        "localhost:9000",
    ]


def test_videos_are_found_in_folders(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "all" / "b", 2)
    for name in ("a.mp4", "c.MOV", "notes.txt", ".hidden.mp4"):
        (tmp_path / "all" / name).touch()
    (tmp_path / "all" / "a.rhmnet").mkdir()
    found = find_videos([tmp_path / "all"])
    assert [path.name for path in found] == ["a.mp4", "c.MOV", "b"]
    assert find_videos([clip]) == [clip]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "gone.mp4"):
        with pytest.raises(InputError, match=path.name):
            find_videos([path])


def test_what_is_no_video_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video" * 100)
    with pytest.raises(InputError, match=r"broken\.mp4"):
        main([str(path), "--no-browser", "--port", "0"])
    assert not capsys.readouterr().out  # no link to what is not there


def test_an_installed_package_says_that_the_demo_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(canvas_command, "_DEMO", tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="docs/demo of a checkout"):
        main(["--demo"])


def test_a_pipe_or_a_device_is_no_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero")):
        with pytest.raises(InputError, match="no such video"):
            find_videos([path])


def test_a_network_that_is_none_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, weights = write_frames(tmp_path / "clip"), tmp_path / "weights.pth"
    weights.write_bytes(b"no weights")
    for words in (["--checkpoint", str(weights)], ["test.no_such_field=1"]):
        with pytest.raises(InputError, match=r"weights\.pth|no_such_field"):
            main([str(clip), *words, "--no-browser", "--port", "0"])
        assert "open http" in capsys.readouterr().out
