"""A canvas in this process, over a tiny video and network, and plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image
from small import made_up_video, small_config, small_model

from rhmnet.checkpoint import open_model, save_checkpoint
from rhmnet.tools import canvas as canvas_command
from rhmnet.tools.canvas.request_guard import Tabs

SIZE = HEIGHT, WIDTH = 48, 64
FRAMES = 12
SETTINGS = ("test.update_frequency=2", "test.max_memory_length=3")


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


class Canvas:
    """A running server, and one client of it."""

    def __init__(self, workspace: canvas_command.Workspace, port: int, token: str) -> None:
        self.workspace, self.port, self.token = workspace, port, token
        self._edits = 0

    @property
    def video(self) -> Any:
        """The video that is open."""
        return self.workspace.opened()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str | None] | None = None,
    ) -> Answer:
        """One request as the page makes it; headers: other ones, None for those to leave out."""
        host = f"127.0.0.1:{self.port}"
        sent = {"Host": host, "Authorization": f"Bearer {self.token}"}
        if method == "POST":
            sent |= {"Origin": f"http://{host}", "Content-Type": "application/json"}
        sent |= headers or {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if data is not None and "Content-Length" not in sent:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def get(self, path: str, **headers: str | None) -> Answer:
        """A GET."""
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, **content: Any) -> Answer:
        """A POST of the client `one`."""
        return self.ask("POST", path, {"client": "one", **content})

    def edit(self, operation: dict[str, Any], path: str = "/api/edits", **content: Any) -> Answer:
        """An edit on top of all before."""
        self._edits += 1
        whole = {
            "base": self.video.revision,
            "id": f"{self.port}.{self._edits}",
            "operation": operation,
        }
        return self.post(path, **{**whole, **content})

    def stroke(
        self, frame: int, number: int, *points: tuple[float, float], width: float = 3
    ) -> Any:
        """Draw a line; what became of it."""
        operation = {"op": "stroke", "frame": frame, "object": number, "width": width}
        answer = self.edit({**operation, "points": [list(point) for point in points]})
        assert answer.status == 200, answer.body
        return answer.json

    def run_to_the_end(self) -> None:
        """Have all masks computed."""
        assert self.post("/api/run").json == {"running": True}
        wait_for(lambda: not self.video.running and not self.video.session.pending)


def wait_for(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Until it is; what it was then."""
    until = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
    return value


def write_frames(folder: Path, frames: int = FRAMES, size: tuple[int, int] = SIZE) -> Path:
    """A folder of PNGs, named 0.png and so on; its pixels are exact."""
    video, _ = made_up_video(frames, *size, 1)
    folder.mkdir(parents=True)
    for index, image in enumerate(video):
        cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
    return folder


def write_network(path: Path, *settings: str) -> Path:
    """A checkpoint of the small random network."""
    config = small_config(*SETTINGS, *settings)
    save_checkpoint(path, small_model(config), config=config, epoch=0)
    return path


@contextlib.contextmanager
def canvas(
    paths: list[Path], network: Path | None, projects: Path | None = None
) -> Iterator[Canvas]:
    """Serve videos; the first one is open. network: None: is still being loaded."""
    tabs, loading = Tabs(), Future()
    workspace = canvas_command.Workspace(paths, loading, projects, tabs)
    workspace.open(0)
    if network is not None:
        loading.set_result(open_model(network))
        wait_for(lambda: workspace.video.session.ready)
    listening, _ = canvas_command.listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    args = canvas_command.parse(["x.mp4"], "canvas")
    token = canvas_command.new_token()
    hosts = canvas_command.hosts_of(args, port)
    server = canvas_command.Server(workspace, tabs, listening, hosts, token)
    try:
        yield Canvas(workspace, port, token)
    finally:
        server.close()
        workspace.close()


def labels_of(png: bytes) -> np.ndarray:
    """uint8 [H, W] of a palette PNG."""
    return np.array(Image.open(io.BytesIO(png)))
