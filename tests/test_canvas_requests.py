"""The canvas' server: what it answers, and whom it refuses."""

from __future__ import annotations

import base64
import functools
import io
import json
import logging
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from canvas_server import (
    FRAMES,
    HEIGHT,
    WIDTH,
    Canvas,
    canvas,
    labels_of,
    wait_for,
    write_frames,
    write_network,
)
from segment_videos import number_of, write_video
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from rhmnet.checkpoint import open_model
from rhmnet.errors import InputError
from rhmnet.files import source, video_place
from rhmnet.files.video_file import VideoFile
from rhmnet.tools import canvas as canvas_command
from rhmnet.tools.canvas import pictures
from rhmnet.tools.canvas.request_guard import MOST_IMPORT, MOST_JSON
from rhmnet.tools.scribbles import Drawing, Stroke, rasterize
from rhmnet.tools.segment.segment_command import main as segment

LINE = [[8.0, 8.0], [40.0, 20.0]]
STROKE = {"op": "stroke", "frame": 3, "object": 1, "width": 5, "points": LINE}


@pytest.fixture(scope="module", autouse=True)
def loopback_only() -> Iterator[None]:
    """Nothing that the canvas does may leave the machine."""
    patch = pytest.MonkeyPatch()
    before = socket.socket.connect

    def checked(self: socket.socket, address: Any) -> None:
        inside = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost")
        assert inside, f"a connection to {address}"
        return before(self, address)

    patch.setattr(socket.socket, "connect", checked)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "tiny.pth.tar")


@pytest.fixture(scope="module")
def shared(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canvas]:
    """A canvas whose state no test relies on."""
    with canvas([write_frames(tmp_path_factory.mktemp("shared") / "clip")], network) as one:
        yield one


@pytest.fixture
def fresh(network: Path, tmp_path: Path) -> Iterator[Canvas]:
    with canvas([write_frames(tmp_path / "clip")], network) as one:
        yield one


# whom it refuses


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "localhost:1",
        "127.0.0.1.evil:{port}",
        "",
        None,
    ],
)
@pytest.mark.parametrize("path", ["/", "/main.js", "/api/project"])
def test_another_host_is_refused(shared: Canvas, host: str | None, path: str) -> None:
    host = host and host.format(port=shared.port)
    answer = shared.get(path, Host=host)
    assert answer.status in (400, 403)
    assert b"palette" not in answer.body and b"<html" not in answer.body


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_our_own_names_are_taken(shared: Canvas, name: str) -> None:
    assert shared.get("/api/project", Host=f"{name}:{shared.port}").status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused(shared: Canvas, origin: str, method: str) -> None:
    origin = origin.format(port=shared.port)
    path, body = ("/api/project", None) if method == "GET" else ("/api/take", {"client": "evil"})
    answer = shared.ask(method, path, body, {"Origin": origin})
    assert answer.status == 403 and "origin" in answer.json["error"]
    assert shared.get("/api/project", **{"Sec-Fetch-Site": "cross-site"}).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_elsewhere_leads_to_the_page_and_no_farther(shared: Canvas, site: str) -> None:
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert shared.get("/", **followed, Authorization=None).status == 200
    assert shared.get("/api/project", **followed).status == 403
    assert shared.ask("POST", "/api/take", {"client": "evil"}, followed).status == 403
    for other in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}):
        assert shared.get("/", **{**followed, **other}).status == 403
    assert shared.ask("POST", "/", {"client": "evil"}, followed).status == 403


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer wrong", "Basic {token}", "{token}"])
def test_the_token_is_asked_for(shared: Canvas, sent: str | None) -> None:
    header = sent and sent.format(token=shared.token)
    for path in ("/api/project", "/api/frames/0", "/api/masks/0", "/api/exports/1", "/api/nothing"):
        assert shared.get(path, Authorization=header).status == 401, path
    answer = shared.ask("POST", "/api/take", {"client": "x"}, {"Authorization": header})
    assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
    query = f"/api/project?token={shared.token}"
    assert shared.get(query, Authorization=header).status == 401


def test_no_answer_is_for_other_origins(shared: Canvas) -> None:
    for path in ("/", "/main.js", "/canvas.css", "/api/project", "/api/frames/0", "/nothing"):
        headers = shared.get(path).headers
        assert not [name for name in headers if name.startswith("access-control")]
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert headers["referrer-policy"] == "no-referrer"
    asked = {"Access-Control-Request-Method": "POST", "Origin": "http://evil.example"}
    assert shared.ask("OPTIONS", "/api/edits", headers=asked).status == 403


@pytest.mark.parametrize(
    "path",
    [
        *("/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/%2e%2e/rhmnet", "//etc/passwd"),
        *("/etc/passwd", "/static/main.js", "/main.js%00.css", "/api/frames/../../etc/passwd"),
        *("/api/frames/-1", f"/api/frames/{FRAMES}", "/api/frames/1e3", "/api/frames/0x1"),
        *("/api/frames/99999999999999999999", "/api/masks/x", "/api/exports/..", "/.git/config"),
        *("/__init__.py", "/web_api.py", "/api/", "/api/exports/1/../2"),
    ],
)
def test_no_path_is_opened(shared: Canvas, path: str) -> None:
    answer = shared.get(path)
    assert answer.status in (400, 404) and set(answer.json) == {"error"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "TRACE"])
def test_other_methods_are_refused(shared: Canvas, method: str) -> None:
    origin = {"Origin": f"http://127.0.0.1:{shared.port}", "Content-Type": "application/json"}
    for path in ("/api/project", "/api/frames/0", "/"):
        assert shared.ask(method, path, {"client": "one"}, origin).status == 405
    assert shared.get("/api/edits").status == 405


def test_bodies_are_bounded(shared: Canvas) -> None:
    large = b'{"client": "one", "x": "' + b"a" * MOST_JSON + b'"}'
    assert shared.ask("POST", "/api/edits", large).status == 413
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": None}
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
    assert shared.ask("POST", "/api/edits", body, chunked).status == 413
    said = {"Content-Length": str(MOST_IMPORT + 1), "Content-Type": "application/octet-stream"}
    address = "/api/imports?client=one&base=0&id=x&frame=0&kind=map"
    assert shared.ask("POST", address, b"", said).status == 413


def test_a_page_that_leaves_amid_its_request_is_no_defect(
    shared: Canvas, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = f"POST /api/edits HTTP/1.1\r\nHost: 127.0.0.1:{shared.port}\r\nContent-Length: 99\r\n"
    head += f"Authorization: Bearer {shared.token}\r\nContent-Type: application/json\r\n\r\n{{"
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "handlers", [caplog.handler])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", shared.port)) as line:
            line.sendall(head.encode())
            assert shared.get("/api/project").status == 200  # slow ones hold up nobody
    assert shared.get("/api/project").status == 200 and not caplog.records


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"client": NaN}', "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"client": "one"}', "text/plain", 415),
        (b'{"client": "one"}', "application/x-www-form-urlencoded", 415),
        (b"\xff\xfe", "application/json", 400),
    ],
)
def test_other_bodies_are_refused(shared: Canvas, body: bytes, kind: str, status: int) -> None:
    answer = shared.ask("POST", "/api/edits", body, {"Content-Type": kind})
    assert answer.status == status and answer.json["error"]


@pytest.mark.parametrize(
    "operation",
    [
        None,
        {},
        {"op": "explode"},
        {"op": "undo"},
        {**STROKE, "frame": FRAMES},
        {**STROKE, "frame": -1},
        {**STROKE, "frame": "3"},
        {**STROKE, "frame": True},
        {**STROKE, "object": 254},
        {**STROKE, "object": 1.0},
        {**STROKE, "width": 0},
        {**STROKE, "width": 1e300},
        {**STROKE, "width": True},
        {**STROKE, "points": []},
        {**STROKE, "points": [[1]]},
        {**STROKE, "points": [[1, 2, 3]]},
        {**STROKE, "points": [["1", 2]]},
        {**STROKE, "points": [[1e9, 2]]},
        {**STROKE, "points": {"0": 1}},
        {**STROKE, "points": [[5000, 5000]]},
        {"op": "clear", "frame": 7},
        {"op": "delete_object", "number": 9},
        {"op": "rename_object", "number": 1, "name": "a\nb"},
    ],
)
def test_other_edits_are_refused_and_change_nothing(shared: Canvas, operation: Any) -> None:
    before = shared.video.revision
    answer = shared.edit(operation)
    assert answer.status == 400 and "\n" not in answer.json["error"]
    assert shared.video.revision == before


@pytest.mark.parametrize(
    "changed",
    [
        {"Host": "evil.example"},
        {"origin": "http://evil.example"},
        {"origin": None},
        {"subprotocols": ["rhmnet"]},
        {"subprotocols": ["rhmnet", "token.wrong"]},
        {"subprotocols": ["token.{token}"]},
        {"subprotocols": None},
    ],
)
def test_a_stranger_s_socket_is_refused(shared: Canvas, changed: dict[str, Any]) -> None:
    words = changed.get("subprotocols", ["rhmnet", "token.{token}"])
    words = words and [word.format(token=shared.token) for word in words]
    origin = changed.get("origin", f"http://127.0.0.1:{shared.port}")
    headers = {"Host": changed["Host"]} if "Host" in changed else {}
    address = f"ws://127.0.0.1:{shared.port}/api/socket?client=two"
    if headers:
        address = f"ws://{headers['Host']}:{shared.port}/api/socket?client=two"
    with pytest.raises(InvalidStatus) as refused, _dial(shared, address, origin, words):
        pass
    assert refused.value.response.status_code in (401, 403)


def _dial(canvas: Canvas, address: str, origin: str | None, words: list[str] | None) -> Any:
    """A WebSocket to this server, whatever host its address names."""
    line = socket.create_connection(("127.0.0.1", canvas.port))
    return connect(address, sock=line, origin=origin, subprotocols=words, compression=None)


def listening(canvas: Canvas, client: str) -> Any:
    origin = f"http://127.0.0.1:{canvas.port}"
    address = f"ws://127.0.0.1:{canvas.port}/api/socket?client={client}"
    return _dial(canvas, address, origin, ["rhmnet", f"token.{canvas.token}"])


def told(line: Any, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    while True:
        message = json.loads(line.recv(timeout=20))
        if message["type"] == kind:
            return message


# what it answers


def test_the_page_is_whole(shared: Canvas) -> None:
    page = shared.get("/", Authorization=None).body.decode()
    assert '<script type="module" src="main.js">' in page and "http://" not in page.replace(
        "http://www.w3.org/", ""
    )
    for name, kind in (("main.js", "text/javascript"), ("canvas.css", "text/css")):
        answer = shared.get(f"/{name}", Authorization=None)
        assert answer.status == 200 and answer.headers["content-type"].startswith(kind)


def test_the_project_is_described(shared: Canvas) -> None:
    told = shared.get("/api/project").json
    project = told["project"]
    assert (project["name"], project["frames"]) == ("clip", FRAMES)
    assert project["size"] == [HEIGHT, WIDTH]
    assert [(one["id"], one["name"], one["open"]) for one in told["videos"]] == [(0, "clip", True)]
    assert len(told["palette"]) == 256 and told["palette"][1] == [128, 0, 0]
    assert [one["number"] for one in project["objects"]][-1] == 255


def test_a_frame_is_the_file_s(shared: Canvas) -> None:
    for index in (5, 0, FRAMES - 1):
        answer = shared.get(f"/api/frames/{index}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert "immutable" in answer.headers["cache-control"]
        image = np.array(Image.open(io.BytesIO(answer.body))).astype(int)
        off = [np.abs(image - shared.video.source.frame(i)).mean() for i in range(FRAMES)]
        assert off[index] == min(off) < 30  # noise, which JPEG does not keep well
    assert shared.get("/api/frames/0?w=100000").status == 400
    assert shared.get("/api/frames/0?w=x").status == 400


def test_large_frames_are_shrunk_to_few_widths(network: Path, tmp_path: Path) -> None:
    with canvas([write_frames(tmp_path / "wide", 2, (400, 1000))], network) as one:
        for asked, given in (
            (1, 320),
            (320, 320),
            (321, 480),
            (900, 960),
            (961, 1000),
            (4000, 1000),
        ):
            picture = Image.open(io.BytesIO(one.get(f"/api/frames/1?w={asked}").body))
            assert picture.size == (given, round(400 * given / 1000))


def test_a_frame_that_takes_long_to_reach_comes_as_a_draft_first(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_SLOW_PIXELS", (5 + pictures._OTHERS) * HEIGHT * WIDTH)
    monkeypatch.setattr(source, "_CACHE_BYTES", 0)
    with canvas([write_video(tmp_path / "v.mp4", 12)], network) as one:
        for path, drafted in (
            ("9?soon=1", True),
            ("9", False),
            ("9?soon=1", False),
            ("5?soon=1", 0),
        ):
            answer = one.get(f"/api/frames/{path}")
            assert ("x-draft" in answer.headers) == drafted, path
            assert ("immutable" in answer.headers["cache-control"]) != drafted, path
            assert number_of(np.array(Image.open(io.BytesIO(answer.body)))) == int(path[0])
        one.get("/api/frames/8")  # backwards: those before it are made in one go
        monkeypatch.setattr(video_place.Place, "grab", lambda place: pytest.fail("decoded again"))
        for index in (7, 6, 5, 4, 3, 2, 1, 0):
            picture = np.array(Image.open(io.BytesIO(one.get(f"/api/frames/{index}").body)))
            assert number_of(picture) == index


def test_a_stroke_is_drawn_as_every_stroke_file(fresh: Canvas) -> None:
    done = fresh.stroke(3, 2, *LINE, width=5)
    assert done["revision"] == 1 and done["can_undo"] and not done["can_redo"]
    assert done["stroked"] == {"3": [2]}
    drawing = Drawing((HEIGHT, WIDTH), [Stroke(2, np.array(LINE), 5)])
    wanted = rasterize(drawing, 2, 5)
    assert np.array_equal(labels_of(fresh.get("/api/strokes/3").body), wanted)
    assert np.array_equal(fresh.video.session.strokes[3], wanted)
    assert not labels_of(fresh.get("/api/strokes/4").body).any()


def test_an_eraser_takes_away_and_locked_strokes_stay(fresh: Canvas) -> None:
    fresh.stroke(0, 1, (5, 10), (60, 10))
    fresh.stroke(0, 255, (5, 20), (60, 20))
    assert fresh.post("/api/objects", number=255, locked=True, hidden=False).status == 200
    fresh.stroke(0, 0, (30, 2), (30, 40), width=9)
    left = labels_of(fresh.get("/api/strokes/0").body)
    assert (left[20, 10:55] == 255).all() and not left[10, 27:33].any() and left[10, 10] == 1
    assert fresh.edit({**STROKE, "frame": 0, "object": 255}).status == 400
    fresh.stroke(0, 2, (40, 20), (40, 30))
    assert labels_of(fresh.get("/api/strokes/0").body)[20, 40] == 255
    assert fresh.edit({"op": "clear", "frame": 0}).status == 200
    assert set(np.unique(labels_of(fresh.get("/api/strokes/0").body))) == {0, 255}


def test_undo_and_redo_are_edits(fresh: Canvas) -> None:
    fresh.stroke(1, 1, *LINE)
    fresh.stroke(2, 1, *LINE)
    undone = fresh.post("/api/undo", base=2, id="u1").json
    assert (undone["revision"], undone["frame"], undone["stroked"]) == (3, 2, {"2": []})
    assert undone["can_redo"]
    again = fresh.post("/api/undo", base=2, id="u1").json  # the answer was lost, say
    assert again["revision"] == 3 and fresh.video.session.strokes.keys() == {1}
    redone = fresh.post("/api/redo", base=3, id="r1").json
    assert (redone["revision"], redone["stroked"]) == (4, {"2": [1]})
    assert fresh.post("/api/redo", base=4, id="r2").status == 400


def test_an_edit_sent_twice_is_made_once(fresh: Canvas) -> None:
    first = fresh.post("/api/edits", base=0, id="same", operation=STROKE)
    second = fresh.post("/api/edits", base=0, id="same", operation=STROKE)
    assert first.json["revision"] == second.json["revision"] == fresh.video.revision == 1


def test_an_edit_of_an_older_revision_is_refused(fresh: Canvas) -> None:
    fresh.stroke(0, 1, *LINE)
    answer = fresh.post("/api/edits", base=0, id="late", operation=STROKE)
    assert answer.status == 409 and answer.json["revision"] == 1


def test_an_edit_is_on_disk_before_it_is_acknowledged(
    fresh: Canvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    before = os.fsync

    def noted(number: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        before(number)

    monkeypatch.setattr(os, "fsync", noted)
    fresh.stroke(0, 1, *LINE)
    log = fresh.video.folder / "edits.jsonl"
    assert str(log.resolve()) in synced
    assert len(log.read_text().splitlines()) == 1


def test_masks_come_by_number_and_state(fresh: Canvas) -> None:
    assert fresh.get("/api/masks/5").status == 204
    fresh.stroke(3, 1, *LINE)
    fresh.run_to_the_end()
    tags = fresh.get("/api/revisions").json["revs"]["frames"]
    for index in range(FRAMES):
        answer = fresh.get(f"/api/masks/{index}?rev={tags[str(index)]}")
        assert (
            answer.headers["x-state"] == "done" and "immutable" in answer.headers["cache-control"]
        )
        path = fresh.video.folder / "masks" / f"{fresh.video.source.frame_name(index)}.png"
        assert answer.body == path.read_bytes()
        runs = fresh.get(f"/api/masks/{index}?form=runs")
        assert runs.headers["x-size"] == f"{WIDTH} {HEIGHT}"
        ends, of = np.split(np.frombuffer(runs.body, np.uint8), [len(runs.body) // 5 * 4])
        lengths = np.diff(ends.view("<u4"), prepend=0)
        assert lengths.all() and (np.diff(of.astype(int)) != 0).all()
        assert np.array_equal(of.repeat(lengths).reshape(HEIGHT, WIDTH), labels_of(answer.body))
    assert "immutable" not in fresh.get("/api/masks/5?rev=other").headers["cache-control"]
    table = fresh.get("/api/reliability").json
    assert table["frames"] == FRAMES and len(table["objects"]["1"]["doubt"]) == FRAMES


def test_nothing_is_run_without_a_stroke_on_an_object(fresh: Canvas) -> None:
    assert fresh.post("/api/run").status == 400
    fresh.stroke(0, 255, *LINE)
    assert fresh.post("/api/run").status == 400 and not fresh.video.running


def test_requests_never_wait_for_the_network(
    fresh: Canvas, monkeypatch: pytest.MonkeyPatch
) -> None:

    going, on = threading.Event(), threading.Event()

    def slow(frame: int) -> None:
        going.set()
        assert on.wait(20)

    monkeypatch.setattr(fresh.video.session, "preview", slow)
    try:
        fresh.stroke(0, 1, *LINE)
        assert going.wait(5)  # a step is under way, and stays so
        fresh.stroke(1, 1, *LINE)
        assert fresh.post("/api/undo", base=2, id="u").status == 200
        for path in ("/api/project", "/api/frames/2", "/api/strokes/0", "/api/reliability"):
            assert fresh.get(path).status == 200
        assert fresh.post("/api/run").status == fresh.post("/api/pause").status == 200
    finally:
        on.set()


def test_the_second_tab_looks_on_until_it_takes_over(fresh: Canvas) -> None:
    with listening(fresh, "one") as first, listening(fresh, "two") as second:
        assert told(first, "hello")["editor"] and not told(second, "hello")["editor"]
        fresh.stroke(0, 1, *LINE)
        assert told(second, "edit")["stroked"] == {"0": [1]}
        assert told(second, "saved")["revision"] == 1
        refused = fresh.edit(STROKE, client="two")
        assert refused.status == 409 and refused.json["editor"] is False
        for path in (
            "/api/undo",
            "/api/redo",
            "/api/run",
            "/api/pause",
            "/api/exports",
            "/api/open",
        ):
            assert fresh.post(path, client="two", base=1, id="x").status == 409
        assert fresh.post("/api/take", client="two").json == {"editor": "two"}
        while told(first, "editor")["client"] != "two":
            pass  # that it was the editor itself, before
        assert fresh.edit(STROKE, client="two").status == 200
        assert fresh.edit(STROKE, client="one").status == 409
    wait_for(lambda: fresh.get("/api/project").json["editor"] is None)


def test_a_run_is_told_of_and_does_not_depend_on_a_tab(fresh: Canvas) -> None:
    with listening(fresh, "one") as line:
        fresh.stroke(0, 1, *LINE)
        assert told(line, "preview")["frame"] == 0
        assert fresh.post("/api/run").status == 200
        message = told(line, "frame")
        assert message["rev"] and set(message["doubt"]) <= {"1"}
    wait_for(lambda: not fresh.video.running)
    assert fresh.video.session.pending == 0
    project = fresh.get("/api/project").json["project"]
    assert project["states"] == {"done": [[0, FRAMES - 1]], "provisional": [], "stale": []}
    assert project["next"] is not None


# in and out


def exported(canvas: Canvas, *kinds: str) -> Path:
    answer = canvas.post("/api/exports", kinds=list(kinds))
    assert answer.status == 202, answer.body

    def job() -> dict[str, Any] | None:
        jobs = {one["id"]: one for one in canvas.get("/api/exports").json["exports"]}
        one = jobs[answer.json["id"]]
        return None if one["state"] == "working" else one

    done = wait_for(job)
    assert done["state"] == "ready", done
    return Path(done["folder"])


def test_strokes_go_out_and_come_in_again(fresh: Canvas, network: Path, tmp_path: Path) -> None:
    fresh.stroke(3, 1, *LINE)
    fresh.stroke(3, 255, (50, 40), (60, 40), width=7)
    fresh.stroke(9, 2, (5, 40))
    fresh.stroke(10, 255, (5, 40), (9, 9))  # of no object: other frames' are enough
    folder = exported(fresh, "strokes", "davis")
    before = fresh.video.session.strokes
    with canvas([write_frames(tmp_path / "again" / "clip")], network) as other:
        for frame, labels in before.items():
            data = (folder / "strokes" / f"{frame}.png").read_bytes()
            assert np.array_equal(labels_of(data), labels)
            assert bring_in(other, data, "map", frame).status == 200
        assert all(np.array_equal(other.video.session.strokes[f], m) for f, m in before.items())
        for frame in before:
            assert other.edit({"op": "clear", "frame": frame}).status == 200
        data = (folder / "davis" / "clip.json").read_bytes()
        assert bring_in(other, data, "json", 0).json["frames"] == [*before]
        assert all(np.array_equal(other.video.session.strokes[f], m) for f, m in before.items())


@pytest.mark.parametrize("seed", range(3))
def test_strokes_of_all_kinds_give_the_command_line_the_same_masks(
    fresh: Canvas, network: Path, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for turn in range(14):  # brush, eraser and background, on and off the frame, undone and deleted
        points = rng.uniform(-6, WIDTH, (rng.integers(1, 5), 2)).tolist()
        number, width = int(rng.choice([0, 1, 1, 2, 7, 255])), float(rng.choice([1, 3.5, 9]))
        stroke = {"op": "stroke", "object": number, "width": width, "points": points}
        fresh.edit({**stroke, "frame": int(rng.choice([0, 4, 11]))})  # some cover nothing
        if rng.random() < 0.2:
            way = str(rng.choice(["/api/undo", "/api/redo"]))
            fresh.post(way, base=fresh.video.revision, id=f"undo{turn}")
        if rng.random() < 0.1:
            fresh.edit({"op": "delete_object", "number": 2})
        if rng.random() < 0.2:
            fresh.post("/api/run")
    fresh.stroke(4, 3, (20, 20), (40, 30))
    fresh.run_to_the_end()
    folder = exported(fresh, "masks", "strokes", "davis")
    video, masks = str(tmp_path / "clip"), sorted((folder / "masks").iterdir())
    assert len(masks) == FRAMES
    for given in (folder / "strokes", folder / "davis" / "clip.json"):
        out = tmp_path / given.stem
        words = [video, "--scribble", str(given), "--out", str(out), "--checkpoint", str(network)]
        assert segment(words) == 0
        assert all(m.read_bytes() == (out / "masks" / m.name).read_bytes() for m in masks)


def bring_in(canvas: Canvas, data: bytes, kind: str, frame: int) -> Any:
    revision = canvas.video.revision
    address = f"/api/imports?client=one&base={revision}&id=i{revision}&frame={frame}&kind={kind}"
    return canvas.ask("POST", address, data, {"Content-Type": "application/octet-stream"})


@pytest.mark.parametrize("data", [b"", b"no picture", base64.b64decode("iVBORw0KGgo="), b"{}"])
def test_what_is_no_stroke_file_is_refused(shared: Canvas, data: bytes) -> None:
    before = shared.video.revision
    for kind in ("map", "json", "path"):
        answer = bring_in(shared, data, kind, 0)
        assert answer.status == 400 and "/tmp" not in answer.json["error"]
    _, wide = cv2.imencode(".png", np.ones((HEIGHT, WIDTH + 1), np.uint8))
    assert bring_in(shared, wide.tobytes(), "map", 0).status == 400
    assert shared.video.revision == before


def test_results_go_out_when_all_is_done(fresh: Canvas) -> None:
    fresh.stroke(3, 1, *LINE)
    assert fresh.post("/api/exports", kinds=["masks"]).status == 400
    assert fresh.post("/api/exports", kinds=["secrets"]).status == 400
    assert fresh.post("/api/exports", kinds="masks").status == 400
    fresh.run_to_the_end()
    folder = exported(fresh, "masks", "webm", "objects", "cutouts", "summary")
    for index in range(FRAMES):
        made = fresh.video.folder / "masks" / f"{index}.png"
        assert (folder / "masks" / f"{index}.png").read_bytes() == made.read_bytes()
        assert (folder / "cutouts" / "1" / f"{index}.png").is_file()
    assert json.loads((folder / "summary.json").read_text())["frames_with_strokes"] == [3]
    answer = fresh.get(f"/api/exports/{folder.name}")
    assert answer.headers["content-type"] == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(answer.body)).namelist()
    assert len([name for name in names if name.startswith("masks/")]) == FRAMES
    assert not [name for name in names if name.startswith("/") or ".." in name]
    assert fresh.get("/api/exports/77").status == 400


def test_a_damaged_mask_does_not_go_out_and_is_made_anew(fresh: Canvas) -> None:
    fresh.stroke(3, 1, *LINE)
    fresh.run_to_the_end()
    mask = fresh.video.folder / "masks" / "1.png"
    whole = mask.read_bytes()
    for hurt in (lambda: mask.write_bytes(whole[:-20]), mask.unlink):
        hurt()
        number = fresh.post("/api/exports", kinds=["masks"]).json["id"]
        wait_for(lambda number=number: fresh.video.exports.describe()[number - 1]["error"])
        assert "1.png: is damaged or gone" in fresh.video.exports.describe()[number - 1]["error"]
        fresh.run_to_the_end()
        assert mask.read_bytes() == whole


def test_what_lies_among_exports_is_passed_over(fresh: Canvas) -> None:
    folder = fresh.video.folder / "exports"
    for name in ("1", "x", "3"):
        (folder / name).mkdir(parents=True)
        (folder / name / "canvas_export.json").write_text("{}" if name == "1" else '{"id": 7}')
    assert fresh.get("/api/exports").json["exports"] == []
    assert fresh.get("/api/exports/1").status == 400


def test_names_that_are_no_text_are_shown(network: Path, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "plain").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with canvas([clip], network) as one:
        told = one.get("/api/project").json
        assert told["videos"][0]["name"] == told["project"]["name"] == "caf\\xe9"
        one.stroke(0, 1, *LINE)
        folder = exported(one, "strokes")
        assert one.get(f"/api/exports/{folder.name}").status == 200


def test_several_videos_are_listed_and_opened(network: Path, tmp_path: Path) -> None:
    paths = [write_frames(tmp_path / name) for name in ("a", "b")]
    with canvas(paths, network) as one:
        one.stroke(0, 1, *LINE)
        told = one.post("/api/open", video=1).json
        assert [(v["name"], v["open"]) for v in told["videos"]] == [("a", False), ("b", True)]
        assert told["project"]["revision"] == 0 and told["videos"][0]["saved"]
        assert one.post("/api/open", video=2).status == 400
        other = tmp_path / "a.rhmnet" / "project.json"
        told = other.read_text()
        other.write_text(told.replace("session", "something else"))
        assert one.post("/api/open", video=0).status == 400
        assert one.get("/api/project").json["project"]["name"] == "b"  # which stays open
        other.write_text(told)
        assert one.post("/api/open", video=0).json["project"]["stroked"] == {"0": [1]}
        one.run_to_the_end()
        one.post("/api/open", video=1)
        one.post("/api/open", video=0)  # what would help is known at once
        wait_for(lambda: one.get("/api/project").json["project"]["next"])
        with pytest.raises(InputError):
            one.workspace.open(5)


# before the network is there


def test_all_that_was_saved_is_there_before_the_network(network: Path, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip")
    with canvas([clip], network) as before:
        before.stroke(3, 1, *LINE)
        before.run_to_the_end()
        masks = [before.get(f"/api/masks/{frame}").body for frame in range(FRAMES)]
    with canvas([clip], None) as one:
        project = one.get("/api/project").json["project"]
        assert project["settings"] is None and project["stroked"] == {"3": [1]}
        assert project["done"] == FRAMES and one.get("/api/frames/5?w=64").status == 200
        assert [one.get(f"/api/masks/{frame}").body for frame in range(FRAMES)] == masks
        one.stroke(9, 2, (50, 30), (60, 40))  # is written down; what it changes waits
        assert one.post("/api/run").json == {"running": True}
        assert one.get("/api/project").json["project"]["done"] < FRAMES
        one.workspace.network.set_result(open_model(network))
        wait_for(lambda: not one.video.running and not one.video.session.pending)
        project = one.get("/api/project").json["project"]
        assert project["done"] == FRAMES and project["settings"]["device"] == "cpu"


def test_masks_of_another_network_count_until_it_is_there(network: Path, tmp_path: Path) -> None:
    clip, other = write_frames(tmp_path / "clip"), tmp_path / "other.pth.tar"
    write_network(other, "test.using_initial_bg=false")
    with canvas([clip], network) as before:
        before.stroke(3, 1, *LINE)
        before.run_to_the_end()
    with canvas([clip], None) as one:
        assert one.get("/api/project").json["project"]["done"] == FRAMES
        refused = one.post("/api/exports", kinds=["masks"])
        assert refused.status == 400 and b"being loaded" in refused.body
        one.workspace.network.set_result(open_model(other))
        wait_for(lambda: one.video.session.ready)
        assert one.get("/api/project").json["project"]["done"] == 0


def test_a_start_without_a_network_can_be_stopped(tmp_path: Path) -> None:
    with canvas([write_frames(tmp_path / "clip")], None) as one:
        one.stroke(3, 1, *LINE)
        one.post("/api/run")
    with canvas([tmp_path / "clip"], None) as again:
        assert again.video.revision == 1


def test_a_video_is_read_through_once(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 9)
    with canvas([clip], network) as one:
        first = one.get("/api/frames/7?w=64").body
    reads: list[int] = []
    before = VideoFile._note
    monkeypatch.setattr(VideoFile, "_note", lambda *args: reads.append(1) or before(*args))
    with canvas([clip], network) as one:
        assert one.get("/api/project").json["project"]["frames"] == 9
        assert one.get("/api/frames/7?w=64").body == first and not reads
    (tmp_path / "clip.rhmnet" / "frames.index").write_bytes(b"damaged")
    with canvas([clip], network) as one:
        assert one.get("/api/frames/7?w=64").body == first and len(reads) == 9


def test_a_full_disk_when_the_network_comes_is_told_and_tried_again(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_frames(tmp_path / "clip")
    with canvas([clip], None) as one:
        one.stroke(3, 1, *LINE)
        told: list[dict[str, Any]] = []
        monkeypatch.setattr(one.video, "_publish", told.append)
        use = one.video.session.use
        full = iter([InputError("project.json: the disk is full; make room")])

        def use_when_there_is_room(*args: Any) -> None:
            if (error := next(full, None)) is not None:
                raise error
            use(*args)

        monkeypatch.setattr(one.video.session, "use", use_when_there_is_room)
        one.workspace.network.set_result(open_model(network))
        wait_for(lambda: any("disk is full" in message.get("error", "") for message in told))
        one.run_to_the_end()
        assert one.get("/api/project").json["project"]["done"] == FRAMES


def test_how_far_a_first_reading_is_is_told_and_it_can_be_stopped(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = VideoFile._note
    going_on = threading.Event()

    def note_slowly(*args: Any) -> None:
        going_on.wait(0.05)
        note(*args)

    monkeypatch.setattr(VideoFile, "_note", note_slowly)
    monkeypatch.setattr(canvas_command, "tqdm", functools.partial(canvas_command.tqdm, delay=0))
    films = [write_video(tmp_path / name, 60) for name in ("a.mp4", "b.mp4")]
    clip = write_frames(tmp_path / "clip")
    with canvas([clip, *films], network) as one, ThreadPoolExecutor(1) as others:
        opening = others.submit(one.post, "/api/open", video=1)
        reading = wait_for(lambda: one.get("/api/project").json["reading"])
        assert reading["name"] == "a.mp4" and 0 < reading["done"] < reading["of"] == 60
        going_on.set()
        assert opening.result().json["project"]["frames"] == 60
        assert one.get("/api/project").json["reading"] is None
        going_on.clear()
        opening = others.submit(one.post, "/api/open", video=2)
        wait_for(lambda: one.get("/api/project").json["reading"])
        one.workspace.close()
        assert opening.result().status == 400 and b"stopped" in opening.result().body
