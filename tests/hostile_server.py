"""A web server on the loopback address that does what servers should not."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Act = Callable[["Handler"], None]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Answers with the server's acts, one a request and the last one for ever after."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.act(self)

    def do_HEAD(self) -> None:
        self.server.act(self)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def hang_up(self) -> None:
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: list[Act] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers in lower case
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("range") for _, _, headers in self.requests]

    def act(self, handler: Handler) -> None:
        with self.lock:
            self.requests.append(
                (
                    handler.command,
                    handler.path,
                    {name.lower(): value for name, value in handler.headers.items()},
                )
            )
            act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        try:
            act(handler)
        except (BrokenPipeError, ConnectionResetError):
            handler.hang_up()


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def serve(
    content: bytes,
    *,
    ranges: bool = True,
    etag: str | None = '"v1"',
    stop: int | None = None,
    pause: float = 0,
) -> Act:
    """A right answer, with or without ranges; `stop` hangs up after so many bytes of the body, and `pause`
    seconds lie between its 64 kB pieces."""

    def act(handler: Handler) -> None:
        wanted = handler.headers.get("Range")
        same = handler.headers.get("If-Range") in (None, etag)
        headers: dict[str, object] = {"ETag": etag} if etag else {}
        start = 0
        if ranges and wanted and same:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                handler.head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        handler.head(206 if start else 200, {**headers, "Content-Length": len(body)})
        if handler.command == "HEAD":
            return
        sent = body[:stop]
        for i in range(0, len(sent), 1 << 16):
            handler.wfile.write(sent[i : i + (1 << 16)])
            time.sleep(pause)
        if stop is not None:
            handler.hang_up()

    return act


def claim(content: bytes, length: int) -> Act:
    """Sends `content` and says that it has `length` bytes, whatever was asked for."""

    def act(handler: Handler) -> None:
        handler.head(200, {"Content-Length": length})
        handler.wfile.write(content)
        handler.hang_up()

    return act


def without_length(content: bytes) -> Act:
    def act(handler: Handler) -> None:
        handler.head(200, {"Connection": "close"})
        handler.wfile.write(content)
        handler.hang_up()

    return act


def wrong_range(content: bytes) -> Act:
    """Answers any range with the first bytes."""

    def act(handler: Handler) -> None:
        total = len(content)
        handler.head(206, {"Content-Length": total, "Content-Range": f"bytes 0-{total - 1}/{total}"})
        handler.wfile.write(content)

    return act


def status(code: int, body: bytes = b"no", **headers: str) -> Act:
    """An answer without the file; underscores of header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def act(handler: Handler) -> None:
        handler.head(code, {**named, "Content-Length": len(body)})
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return act


def stall(content: bytes, sent: int, seconds: float) -> Act:
    """Sends the first bytes, and then nothing."""

    def act(handler: Handler) -> None:
        handler.head(200, {"Content-Length": len(content), "ETag": '"v1"'})
        handler.wfile.write(content[:sent])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.hang_up()

    return act


def hub(files: dict[str, bytes], pause: float = 0) -> Act:
    """Answers as the Hugging Face hub does: metadata at /resolve/, the bytes behind a redirect.

    `pause` seconds lie between pieces of 64 kB.
    """

    def act(handler: Handler) -> None:
        path = handler.path
        if path.startswith("/blob/"):
            serve(files[path.removeprefix("/blob/")], pause=pause)(handler)
            return
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        key = f"{repo}/{rest.partition('/')[2]}"
        if key not in files:
            status(404, X_Error_Code="EntryNotFound")(handler)
            return
        content = files[key]
        etag = hashlib.sha256(content).hexdigest()
        headers = {
            # Another host, as the hub's storage is.
            "Location": f"http://localhost:{handler.server.server_port}/blob/{key}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{etag}"',
            "X-Linked-Size": str(len(content)),
        }
        handler.head(302, {**headers, "Content-Length": 0})

    return act
