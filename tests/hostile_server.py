"""A web server on the loopback address that does what servers should not."""

import hashlib
import sys
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
        self.sent = 0  # bytes of bodies without end
        self.asked = threading.Event()
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what these tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

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
            self.asked.set()
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
        server.closing.set()
        server.shutdown()
        server.server_close()


def serve(
    content: bytes,
    *,
    ranges: bool = True,
    etag: str | None = '"v1"',
    stop: int | None = None,
    pause: float = 0,
    piece: int = 1 << 16,
    heeds_if_range: bool = True,
    shift: int = 0,
    total: int | None = None,
    **others: str,
) -> Act:
    """A right answer, with or without ranges, and with the `others` as headers.

    `stop` hangs up after so many bytes of the body, and `pause` seconds lie between its pieces. Wrong it is if it does
    not heed If-Range, or for ranges `shift`s the first byte or announces another `total`.
    """

    def act(handler: Handler) -> None:
        wanted = handler.headers.get("Range")
        same = not heeds_if_range or handler.headers.get("If-Range") in (None, etag)
        headers: dict[str, object] = {name.replace("_", "-"): value for name, value in others.items()}
        if etag:
            headers["ETag"] = etag
        start = 0
        if ranges and wanted and same:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) + shift
            if start >= len(content):
                handler.head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{total or len(content)}"
        body = content[start:]
        handler.head(206 if "Content-Range" in headers else 200, {**headers, "Content-Length": len(body)})
        if handler.command == "HEAD":
            return
        sent = body[:stop]
        for i in range(0, len(sent), piece):
            handler.wfile.write(sent[i : i + piece])
            time.sleep(pause)
        if stop is not None:
            handler.hang_up()

    return act


def endless(code: int = 200, chunked: bool = False, **headers: str) -> Act:
    """Sends a body without end, until the client hangs up or 2 GB are out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    piece = bytes(1 << 16)

    def act(handler: Handler) -> None:
        handler.head(
            code, {**named, **({"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"})}
        )
        while handler.server.sent < 2 << 30:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            handler.server.sent += len(piece)
        handler.hang_up()

    return act


def raw(answer: bytes) -> Act:
    """Sends these bytes, whatever they are, and hangs up."""

    def act(handler: Handler) -> None:
        handler.wfile.write(answer)
        handler.hang_up()

    return act


def silence(seconds: float) -> Act:
    """Does not even send a head."""

    def act(handler: Handler) -> None:
        handler.server.closing.wait(seconds)
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
        handler.server.closing.wait(seconds)
        handler.hang_up()

    return act


def dripping_head(handler: Handler) -> None:
    """Sends a head without end, a byte a moment."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-More: ")
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b"x")
    handler.hang_up()


def hub(files: dict[str, bytes], pause: float = 0, published: dict[str, bytes] | None = None) -> Act:
    """Answers as the Hugging Face hub does: metadata at /resolve/, the bytes behind a redirect.

    `pause` seconds lie between pieces of 64 kB. `published` has the files that the metadata is about, if these are
    others.
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
        content = (published or files)[key]
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
