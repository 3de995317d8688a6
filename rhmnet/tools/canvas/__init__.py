"""Draw strokes on a video in a browser, see masks at once, correct, export.

    %(prog)s dog.mp4                      one video, or a folder of images
    %(prog)s clips/                       a folder of videos: the page lists them
    %(prog)s --demo                       the clip that comes with the project
    %(prog)s dog.mp4 --port 9000 --no-browser

It prints a link, and opens it. All that is drawn is kept in NAME.rhmnet/ beside the video; the same
command goes on. On another machine: ssh -L 8765:localhost:8765 HOST, and open the link here.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from tqdm import tqdm

import rhmnet
from rhmnet.errors import InputError, say, shown
from rhmnet.files.source import find_videos
from rhmnet.labels import davis_palette
from rhmnet.runtime import CommandParser, StopRequest, whole
from rhmnet.tools.canvas.open_video import OpenVideo
from rhmnet.tools.canvas.pictures import INDEX, Pictures
from rhmnet.tools.canvas.request_guard import (
    LOOPBACK,
    Tabs,
    hosts_of,
    named,
    new_token,
    shown_in_browser,
)
from rhmnet.tools.canvas.web_api import WebApi
from rhmnet.tools.segment import Session
from rhmnet.visualize import shown_colours

if TYPE_CHECKING:
    from rhmnet.checkpoint import Loaded

PROJECT_SUFFIX = ".rhmnet"
_PORTS_TRIED = 20
_PATIENCE = 1.0  # seconds for which the link waits until the video can be shown
_LOOK = 0.2  # seconds between two looks at signals and progress
_DEMO = Path(__file__).resolve().parents[3] / "docs" / "demo" / "bottle.mp4"


class Workspace:
    """The videos that were named, one of which may be open.

    network: is loaded meanwhile. projects: folder for all projects; None: beside each video.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        network: Future[Loaded],
        projects: Path | None,
        tabs: Tabs,
    ) -> None:
        self.paths, self.network = list(paths), network
        self.video: OpenVideo | None = None
        self._projects, self._tabs, self._opening = projects, tabs, threading.Lock()
        self._reading: dict[str, Any] | None = None
        self._closing = False

    def opened(self) -> OpenVideo:
        """The video that is open; raises InputError where none is."""
        if self.video is None:
            raise InputError("no video is open; choose one on the start page")
        return self.video

    def open(self, number: int) -> None:
        """Open a video by its number, and close the one before."""
        if number >= len(self.paths):
            raise InputError(f"video: {number}; expected 0 to {len(self.paths) - 1}")
        with self._opening:
            if self.video is not None and self.video.number == number:
                return
            path, folder = self.paths[number], self.folder_of(number)
            try:
                with tqdm(desc=shown(f"reading {path.name}"), unit="frame", delay=1) as bar:
                    pictures = Pictures(str(path), folder / INDEX, partial(self._seen, path, bar))
            finally:
                self._reading = None
            session = Session(pictures.source, folder=folder)
            pictures.begin()
            if self.video is not None:  # not before the next one has turned out to be usable
                self.video.close()
            self.video = OpenVideo(number, session, pictures, self.network, self._tabs.publish)
        self._tabs.publish({"type": "opened", "video": number})

    def _seen(self, path: Path, bar: tqdm, of: int | None) -> None:
        """A frame was read for the first time: all of them are, before a video is shown."""
        if self._closing:
            raise InputError(f"{path}: the canvas was stopped while it read the video")
        if bar.update():  # drawn anew, which it is not for each frame
            self._reading = {"name": shown(path.name), "done": bar.n, "of": of}
            self._tabs.publish({"type": "reading", "reading": self._reading})

    def close(self) -> None:
        """Close what is open."""
        self._closing = True
        with self._opening:
            if self.video is not None:
                self.video.close()

    def folder_of(self, number: int) -> Path:
        """The project's folder of a video."""
        path = self.paths[number].resolve()
        own = f"{path.stem if path.is_file() else path.name}{PROJECT_SUFFIX}"
        if self._projects is None:
            return path.parent / own
        if len(self.paths) == 1:
            return self._projects
        alike = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
        return self._projects / f"{path.stem}-{alike}{PROJECT_SUFFIX}"

    def describe(self) -> dict[str, Any]:
        """All that the page begins with."""
        video = self.video
        palette = davis_palette()
        return {
            "version": rhmnet.__version__,
            "videos": [
                {
                    "id": number,
                    "name": shown(path.name),
                    "open": video is not None and video.number == number,
                    "saved": (self.folder_of(number) / "edits.jsonl").is_file(),
                }
                for number, path in enumerate(self.paths)
            ],
            "project": video and video.describe(),
            "reading": self._reading,
            "palette": palette.tolist(),
            "colours": shown_colours().tolist(),
        }


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet canvas") -> int:
    """Read the command line and serve until a signal comes; returns the exit code."""
    args = parse(argv, prog)
    if args.demo and not _DEMO.is_file():
        raise InputError("--demo: its clip lies in docs/demo of a checkout; name a video instead")
    if args.demo:  # the checkout stays as it is
        args.videos, args.project = [_DEMO], args.project or Path("results") / "bottle.rhmnet"
    paths = find_videos(args.videos)
    tabs, network, opening = Tabs(), Future(), Future()
    workspace = Workspace(paths, network, args.project, tabs)
    with StopRequest(patient=False) as stop:
        try:
            if len(paths) == 1:
                _fill(opening, workspace.open, 0)
                if wait([opening], _PATIENCE).done:
                    opening.result()  # raises what is wrong with the video
            listening, note = listen(args.host, args.port)
            if note:
                say(note)
            token = new_token()
            port = listening.getsockname()[1]
            server = Server(workspace, tabs, listening, hosts_of(args, port), token)
            link = f"http://{named(args.host)}:{port}/#{token}"
            say(f"open {link}")
            _fill(network, _load, args)
            with closing(server), ExitStack() as shown:
                if not args.no_browser:
                    shown.enter_context(shown_in_browser(link, workspace.folder_of(0).parent))
                _wait(workspace, opening, stop, lambda: tabs.editor is not None and shown.close())
        finally:
            workspace.close()
    _say_saved(workspace)
    return stop.exit_code


def _fill(future: Future, call: Callable[..., object], *args: Any) -> None:
    """Have a thread of its own make what a future promises."""

    def run() -> None:
        try:
            future.set_result(call(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()


def _load(args: argparse.Namespace) -> Loaded:
    """The network of a command line: made after the page is there, for PyTorch takes seconds."""
    from rhmnet.checkpoint import open_model
    from rhmnet.runtime.processes import choose_device

    loaded = open_model(args.checkpoint, args.overrides, args.config)
    device = choose_device(args.device)
    say(loaded.describe(f"on {args.device}", "--checkpoint FILE"))
    return loaded._replace(model=loaded.model.to(device))


def parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    """Read the command line; None: the process's own. Raises InputError."""
    parser = CommandParser(prog, settings=True, description=__doc__)
    add = parser.add_argument
    add("videos", nargs="*", type=Path, metavar="VIDEO", help=_VIDEOS)
    add("--demo", action="store_true", help="the clip that comes with the project")
    add("--project", type=Path, metavar="DIR", help=_PROJECT)
    network = parser.add_argument_group("network")
    add = network.add_argument
    add("--checkpoint", metavar="FILE", help="weights (default: `small`, the project's own)")
    add("--config", help="as of `segment`")
    add("--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:N, mps")
    server = parser.add_argument_group("server")
    add = server.add_argument
    add(
        "--port", type=whole(0, 65535), default=8765, help="0: any (default 8765, or the next free)"
    )
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    add("--allow-remote", action="store_true", help=_REMOTE)
    add("--origin", action="append", default=[], metavar="HOST:PORT", help=_ORIGIN)
    add("--no-browser", action="store_true", help="print the link alone")
    args = parser.parse_args(argv)
    if args.demo == bool(args.videos):
        raise InputError(f"expected a video, a folder, or --demo; see {prog} --help")
    if args.host not in LOOPBACK and not args.allow_remote:
        raise InputError(
            f"--host {args.host}: others could reach it, over a line that anyone on the way can "
            "read; ssh -L 8765:localhost:8765 is safer, or add --allow-remote"
        )
    return args


_VIDEOS = "video file, folder of images, or folder of videos; of several, the page lists them"
_PROJECT = (
    "where all is kept (default: NAME.rhmnet beside the video); of several videos a folder for all"
)
_REMOTE = "with --host: others may connect, who have the link; nothing is encrypted"
_ORIGIN = "a further name that the page is reached by, as behind a tunnel with another port"


def listen(host: str, port: int) -> tuple[socket.socket, str | None]:
    """A socket that listens on the port, or on the next free one; what to tell of that."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = min(port + _PORTS_TRIED, 65535)
    for candidate in range(port, last + 1):
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, candidate))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise InputError(
                    f"--host {host} --port {candidate}: cannot be listened on "
                    f"({error.strerror or error}); give another"
                ) from None
            continue
        taken = f"port {port} is taken; using {candidate}" if candidate != port else None
        return listening, taken
    raise InputError(f"--port {port}: it is taken, and so are all up to {last}; give another")


class Server:
    """uvicorn in a thread, so that signals stay with the main one."""

    def __init__(
        self,
        workspace: Workspace,
        tabs: Tabs,
        listening: socket.socket,
        hosts: list[str],
        token: str,
    ) -> None:
        config = uvicorn.Config(
            WebApi(workspace, tabs).app(hosts, token),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=1 << 16,
            timeout_graceful_shutdown=1,
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer what is under way, and leave."""
        self._server.should_exit = True
        self._thread.join(3)


def _wait(
    workspace: Workspace, opening: Future, stop: StopRequest, look: Callable[[], object]
) -> None:
    """Until a signal comes, looking now and then; what is computed shows as a bar meanwhile.

    Raises InputError where there is no such video or network as was asked for.
    """
    bar: tqdm | None = None
    while not stop.exit_code:
        time.sleep(_LOOK)
        look()
        for one in (opening, workspace.network):
            if one.done():
                one.result()  # raises what kept it from being there
        video = workspace.video
        if video is None or not video.running:
            if bar is not None:
                bar.n = bar.total - (video.session.pending if video else 0)
                bar.close()
                bar = None
            continue
        left = video.session.pending
        if bar is None:
            bar = tqdm(total=left, unit="frame", desc=shown(f"computing {video.source.name}"))
        bar.total = max(bar.total, left)
        bar.n = bar.total - left
        bar.refresh()
    if bar is not None:
        bar.close()


def _say_saved(workspace: Workspace) -> None:
    video = workspace.video
    if video is None:
        say("stopped; no video was open")
        return
    done = sum(len(frames) for frames in video.session.done)
    say(
        f"stopped; saved in {video.folder}: {video.revision} edits, the masks of {done} of "
        f"{video.frames} frames; the same command goes on"
    )
