"""What the page asks for, and what it is told: HTTP, and one WebSocket a tab.

Nothing here waits for the network: edits are written down, the rest is read from memory or disk.
No path comes from a request: frames, masks and exports are numbers.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from rhmnet.errors import InputError, short, shown
from rhmnet.tools.canvas.open_video import OpenVideo
from rhmnet.tools.canvas.pictures import palette_png, runs_of
from rhmnet.tools.canvas.request_guard import (
    LONGEST_NAME,
    MOST_IMPORT,
    PROTOCOL,
    Guard,
    Refused,
    Stale,
    Tabs,
    number_in,
    read_body,
    read_json_body,
    word_in,
)
from rhmnet.tools.canvas.transfers import listed, read_import

if TYPE_CHECKING:
    from rhmnet.tools.canvas import Workspace

_KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


class WebApi:
    """The routes over one workspace."""

    def __init__(self, workspace: Workspace, tabs: Tabs) -> None:
        self._workspace, self._tabs = workspace, tabs

    def app(self, hosts: Collection[str], token: str) -> ASGIApp:
        """The ASGI application, guarded; see `Guard` for hosts and token."""
        gets = {
            "/api/project": self._project,
            "/api/frames/{frame:int}": self._frame,
            "/api/masks/{frame:int}": self._mask,
            "/api/strokes/{frame:int}": self._strokes,
            "/api/revisions": self._revisions,
            "/api/reliability": self._reliability,
            "/api/exports": self._list_exports,
            "/api/exports/{number:int}": self._download,
            "/": self._page,
            "/{name}": self._page,
        }
        posts = {
            "/api/open": self._open,
            "/api/edits": self._edit,
            "/api/undo": self._undo,
            "/api/redo": self._redo,
            "/api/objects": self._objects,
            "/api/run": self._run,
            "/api/pause": self._pause,
            "/api/preview": self._preview,
            "/api/take": self._take,
            "/api/exports": self._export,
            "/api/imports": self._import,
        }
        routes: list[Any] = [Route(path, call, methods=["POST"]) for path, call in posts.items()]
        routes += [Route(path, call, methods=["GET"]) for path, call in gets.items()]
        routes.append(WebSocketRoute("/api/socket", self._socket))
        handlers = {
            Refused: _refused,
            Stale: _stale,
            InputError: _bad_input,
            HTTPException: _http_error,
            ClientDisconnect: _left,
        }
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        return Guard(app, hosts, token)

    # pages and pictures

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in _page_files():  # a look-up by name: no path of a request is ever opened
            raise HTTPException(404)
        kind = _KINDS[name[name.rindex(".") :]]
        return Response(_page_files()[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    async def _frame(self, request: Request) -> Response:
        video, frame = self._video_frame(request)
        soon = request.query_params.get("soon") == "1"
        jpeg, width = video.pictures.jpeg, _width(request)
        data, draft = await run_in_threadpool(jpeg, frame, width, soon)
        headers = {"X-Draft": "1"} if draft else _FOR_EVER
        return Response(data, media_type="image/jpeg", headers=headers)

    async def _mask(self, request: Request) -> Response:
        video, frame = self._video_frame(request)
        mask = await run_in_threadpool(video.session.mask, frame)
        if mask.labels is None:
            return Response(status_code=204, headers={"X-State": mask.state})  # none so far
        tag = video.tag(frame)
        headers = {"X-State": mask.state, "X-Rev": tag}
        if request.query_params.get("rev") == tag:
            headers |= _FOR_EVER
        return await _labels(request, mask.labels, headers)

    async def _strokes(self, request: Request) -> Response:
        video, frame = self._video_frame(request)
        return await _labels(request, await run_in_threadpool(video.session.strokes_on, frame), {})

    # what is known

    async def _project(self, request: Request) -> Response:
        return JSONResponse(await self._described())

    async def _described(self) -> dict[str, Any]:
        told = await run_in_threadpool(self._workspace.describe)
        return {**told, "editor": self._tabs.editor}

    async def _revisions(self, request: Request) -> Response:
        video = self._workspace.opened()
        first = number_in(request.query_params.get("from", "0"), "from", 0, 10**9)
        last = number_in(request.query_params.get("to", str(10**9)), "to", 0, 10**9)
        revs = await run_in_threadpool(video.tags, first, min(last, video.frames - 1))
        return JSONResponse({"from": first, "revs": revs})

    async def _reliability(self, request: Request) -> Response:
        video = self._workspace.opened()
        told = await run_in_threadpool(lambda: listed(*video.session.statistics()))
        return JSONResponse({"frames": video.frames, "objects": told})

    # changes

    async def _open(self, request: Request) -> Response:
        content = await self._from_editor(request)
        number = number_in(content.get("video"), "video", 0, 10**6)
        await run_in_threadpool(self._workspace.open, number)
        return JSONResponse(await self._described())

    async def _edit(self, request: Request) -> Response:
        content = await self._from_editor(request)
        operation = content.get("operation")
        if not isinstance(operation, dict):
            raise Refused(400, "operation: expected an object such as {'op': 'clear', 'frame': 0}")
        if operation.get("op") in ("undo", "redo"):
            raise Refused(400, "undo and redo have addresses of their own: /api/undo, /api/redo")
        return await self._change(content, operation)

    async def _undo(self, request: Request) -> Response:
        return await self._change(await self._from_editor(request), {"op": "undo"})

    async def _redo(self, request: Request) -> Response:
        return await self._change(await self._from_editor(request), {"op": "redo"})

    async def _change(self, content: dict[str, Any], operation: dict[str, Any]) -> Response:
        base = number_in(content.get("base"), "base", 0, 10**9)
        edit = word_in(content.get("id"), "id")
        done = await run_in_threadpool(
            self._workspace.opened().edit, operation, base, edit, content["client"]
        )
        return JSONResponse(done)

    async def _objects(self, request: Request) -> Response:
        content = await self._from_editor(request)
        objects = await run_in_threadpool(self._workspace.opened().describe_object, content)
        return JSONResponse({"objects": objects})

    async def _run(self, request: Request) -> Response:
        content = await self._from_editor(request)
        video = self._workspace.opened()
        if content.get("frame") is not None:
            video.look_at(number_in(content["frame"], "frame", 0, video.frames - 1))
        return JSONResponse({"running": video.run()})

    async def _pause(self, request: Request) -> Response:
        await self._from_editor(request)
        self._workspace.opened().pause()
        return JSONResponse({"running": False})

    async def _preview(self, request: Request) -> Response:
        content = await self._from_editor(request)
        video = self._workspace.opened()
        video.ask_preview(number_in(content.get("frame"), "frame", 0, video.frames - 1))
        return JSONResponse({"queued": True})

    async def _take(self, request: Request) -> Response:
        content = await read_json_body(request)
        self._tabs.take(word_in(content.get("client"), "client"))
        return JSONResponse({"editor": self._tabs.editor})

    # in and out

    async def _export(self, request: Request) -> Response:
        content = await self._from_editor(request)
        exports = self._workspace.opened().exports
        number = await run_in_threadpool(exports.start, content.get("kinds"))
        return JSONResponse({"id": number}, 202)

    async def _list_exports(self, request: Request) -> Response:
        listed = await run_in_threadpool(self._workspace.opened().exports.describe)
        return JSONResponse({"exports": listed})

    async def _download(self, request: Request) -> Response:
        number = request.path_params["number"]
        path = await run_in_threadpool(self._workspace.opened().exports.packed, number)
        return FileResponse(path, media_type="application/zip", filename=shown(path.name))

    async def _import(self, request: Request) -> Response:
        query = dict(request.query_params)
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/octet-stream":
            raise Refused(415, "expected Content-Type: application/octet-stream")
        client = word_in(query.get("client"), "client")
        self._tabs.check(client)
        video = self._workspace.opened()
        frame = number_in(query.get("frame", "0"), "frame", 0, video.frames - 1)
        base = number_in(query.get("base"), "base", 0, 10**9)
        edit = word_in(query.get("id"), "id")
        data = await read_body(request, MOST_IMPORT)
        brought = await run_in_threadpool(read_import, data, query.get("kind"), frame, video.source)
        done = await run_in_threadpool(video.bring_in, brought.maps, base, edit, client)
        return JSONResponse({**done, "frames": sorted(brought.maps), "notes": list(brought.notes)})

    # the socket

    async def _socket(self, socket: WebSocket) -> None:
        client = socket.query_params.get("client", "")
        if not 1 <= len(client) <= LONGEST_NAME or not client.isprintable():
            await socket.close(4400)
            return
        await socket.accept(PROTOCOL)
        queue = self._tabs.join(client)
        sending = asyncio.create_task(self._send(socket, client, queue))
        try:
            while True:
                self._heard(await socket.receive_json())
        except (WebSocketDisconnect, ValueError, KeyError, RuntimeError):
            pass  # it left, or said what no page of ours says
        finally:
            sending.cancel()
            self._tabs.leave(queue)

    async def _send(self, socket: WebSocket, client: str, queue: asyncio.Queue) -> None:
        video = self._workspace.video
        hello = {"client": client, "editor": self._tabs.editor == client}
        hello |= {"revision": video and video.revision, "project": video and video.id}
        await socket.send_json({"type": "hello", **hello})
        while (message := await queue.get()) is not None:
            await socket.send_json(message)
        await socket.close(4429)

    def _heard(self, message: Any) -> None:
        video = self._workspace.video
        if not isinstance(message, dict) or message.get("type") != "view" or video is None:
            return
        frame = message.get("frame")
        if type(frame) is int and 0 <= frame < video.frames:
            video.look_at(frame)

    # helpers

    async def _from_editor(self, request: Request) -> dict[str, Any]:
        """The body of a request that only the editor's tab may make."""
        content = await read_json_body(request)
        content["client"] = word_in(content.get("client"), "client")
        self._tabs.check(content["client"])
        return content

    def _video_frame(self, request: Request) -> tuple[OpenVideo, int]:
        video, frame = self._workspace.opened(), request.path_params["frame"]
        if not 0 <= frame < video.frames:
            raise Refused(404, f"no frame {short(frame)}; expected 0 to {video.frames - 1}")
        return video, frame


def _width(request: Request) -> int | None:
    return number_in(request.query_params.get("w"), "w", 1, 1 << 16)


async def _labels(request: Request, labels: np.ndarray, headers: dict[str, str]) -> Response:
    """A label map as wide as it was asked for: a PNG, or `form=runs`, see `runs_of`."""
    if request.query_params.get("form") != "runs":
        data = await run_in_threadpool(palette_png, labels, _width(request))
        return Response(data, media_type="image/png", headers=headers)
    data, (width, height) = await run_in_threadpool(runs_of, labels, _width(request))
    headers = {**headers, "X-Size": f"{width} {height}"}
    return Response(data, media_type="application/octet-stream", headers=headers)


@functools.cache
def _page_files() -> dict[str, bytes]:
    """The page's own files, by name: nothing else is ever sent."""
    folder = files("rhmnet.tools.canvas") / "static"
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name[path.name.rfind(".") :] in _KINDS
    }


async def _refused(request: Request, error: Exception) -> Response:
    return error.response()


async def _stale(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error), "revision": error.revision}, 409)


async def _bad_input(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # amid its request: nobody reads this


async def _http_error(request: Request, error: Exception) -> Response:
    why = {404: "there is no such address", 405: "this address takes another method"}
    text = why.get(error.status_code, shown(error.detail))
    return JSONResponse({"error": text}, error.status_code, error.headers)
