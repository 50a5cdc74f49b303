"""A hub of models on this machine: Hugging Face's and ModelScope's questions answered, well or badly.

with Hub({"config.json": b"{}", ...}) as hub:
    hub.behave["model.safetensors"] = hub.cut(1000)      # this file's next answer ends after 1,000 bytes
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Behaviour = Callable[[Any, bytes], None]


class Hub:
    """Serves one model, `org/name`. `asked`: (path, headers) of every question."""

    def __init__(self, files: dict[str, bytes], *, lfs: tuple[str, ...] = (".safetensors", ".gguf", ".bin")) -> None:
        self.files, self.lfs = files, lfs
        self.behave: dict[str, Behaviour] = {}
        self.once: dict[str, Behaviour] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.change: Callable[[Any], Any] = lambda document: document  # of the listing
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append((self.path, dict(self.headers)))
                hub.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Hub:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, handler: Any) -> None:
        parts = urlsplit(handler.path)
        query = parse_qs(parts.query)
        if parts.path.startswith("/api/models/org/name/revision/") and query.get("blobs") == ["true"]:
            return send(handler, json.dumps(self.change(self.hf())).encode())
        if parts.path == "/api/v1/models/org/name/repo/files" and query.get("Recursive") == ["true"]:
            return send(handler, json.dumps(self.change(self.ms())).encode())
        if parts.path == "/api/v1/models/org/name/repo":
            name = query["FilePath"][0]
        elif parts.path.startswith(f"/org/name/resolve/{COMMIT}/"):
            name = unquote(parts.path.removeprefix(f"/org/name/resolve/{COMMIT}/"))
        else:
            name = ""
        if name not in self.files:
            return handler.send_error(404)
        behaviour = self.once.pop(name, None) or self.behave.get(name) or whole
        return behaviour(handler, self.files[name])

    def hf(self) -> dict[str, Any]:
        siblings = []
        for name, data in self.files.items():
            one: dict[str, Any] = {"rfilename": name, "size": len(data)}
            one["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if name.endswith(self.lfs):
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(one)
        return {"id": "org/name", "sha": COMMIT, "siblings": siblings}

    def ms(self) -> dict[str, Any]:
        files = [
            {"Name": name.rpartition("/")[2], "Path": name, "Type": "blob", "Size": len(data),
             "Sha256": hashlib.sha256(data).hexdigest(), "Revision": COMMIT}
            for name, data in self.files.items()
        ]  # fmt: skip
        return {"Code": 200, "Success": True, "Data": {"Files": [{"Path": "1_Pooling", "Type": "tree"}, *files]}}


def send(handler: Any, data: bytes, status: int = 200, **headers: str) -> None:
    told = {"Content-Length": str(len(data)), **{key.replace("_", "-"): value for key, value in headers.items()}}
    handler.send_response(status)
    for key, value in told.items():
        if value:
            handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(data)


def start_of(handler: Any) -> int:
    told = handler.headers.get("Range", "bytes=0-")
    return int(told.removeprefix("bytes=").rstrip("-"))


def whole(handler: Any, data: bytes) -> None:
    """As a good server does: from where it is asked to go on."""
    at = start_of(handler)
    if at:
        send(handler, data[at:], 206, Content_Range=f"bytes {at}-{len(data) - 1}/{len(data)}")
    else:
        send(handler, data)


def cut(count: int) -> Behaviour:
    """The line goes after `count` more bytes."""

    def behaviour(handler: Any, data: bytes) -> None:
        at = start_of(handler)
        told = {"Content_Range": f"bytes {at}-{len(data) - 1}/{len(data)}"} if at else {}
        send(handler, data[at : at + count], 206 if at else 200, Content_Length=str(len(data) - at), **told)
        handler.close_connection = True

    return behaviour


def to(url: str, status: int = 302) -> Behaviour:
    return lambda handler, data: send(handler, b"", status, Location=url)


def other(data: bytes) -> Behaviour:
    return lambda handler, _: send(handler, data)


def announced(length: str) -> Behaviour:
    return lambda handler, data: send(handler, data, Content_Length=length)
