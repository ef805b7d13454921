"""Requests to the pack's routes that no page of this server sends: each is answered with 4xx, and quickly."""

import gzip
import json
import threading
import time

import pytest
from comfyui.prompts import text_prompt
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.comfyui

JSON = {"Content-Type": "application/json"}
ESTIMATE, DOWNLOADS, POCKET_FILES = (
    f"/diffuseit/{name}" for name in ("estimate", "downloads", "pocket-files")
)
SECONDS = 20
DEEP = b"[" * 100_000 + b"]" * 100_000

BODIES = {
    "nothing": (b"", 400),
    "no JSON": (b"{", 400),
    "no text": (b"\xff\xfe\xfa", 400),
    "deep": (DEEP, 400),
    "deep in a prompt": (b'{"prompt": {"1": ' + DEEP + b'}, "node": "1"}', 400),
    "not a number": (b'{"name": NaN}', 400),
    "of too many digits": (b'{"name": ' + b"1" * 10_000 + b"}", 400),
    "large": (b'{"name": "' + b"x" * 2_000_000 + b'"}', 413),
    "a list": (b"[1]", 400),
    "null": (b"null", 400),
    "other fields": (b'{"nam": "dino-s16"}', 400),
    "a list for a name": (b'{"name": ["dino-s16"], "prompt": [], "node": []}', 400),
    "a long name": (b'{"name": "' + b"x" * 900_000 + b'"}', 400),
}

HEADERS = {
    "plain text": ({"Content-Type": "text/plain"}, 415),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "no type": ({}, 415),
    "a charset that is none": ({"Content-Type": "application/json; charset=x"}, 415),
    "an odd charset": ({"Content-Type": "application/json; charset=utf-7"}, 415),
    "a charset of bytes": ({"Content-Type": "application/json; charset=base64"}, 415),
    "another site": (JSON | {"Origin": "https://evil.example"}, 403),
    "another port": (JSON | {"Origin": "http://127.0.0.1:1"}, 403),
    "a page without a place": (JSON | {"Origin": "null"}, 403),
    "an odd origin": (JSON | {"Origin": "http://[::1"}, 403),
    "an odd port": (JSON | {"Origin": "http://127.0.0.1:x"}, 403),
    "cross-site": (JSON | {"Sec-Fetch-Site": "cross-site"}, 403),
    "another host": (JSON | {"Host": "evil.example"}, 403),
    "another host and its page": (JSON | {"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    "an odd host": (JSON | {"Host": "evil.example:x"}, 403),
    "compressed": (JSON | {"Content-Encoding": "gzip"}, 415),
}


@pytest.fixture(scope="module")
def open_server(start):
    """A server that any site may call: ComfyUI's own check of the origin is off."""
    with start("--enable-cors-header", "*") as running:
        yield running


def estimate_body(**inputs):
    prompt = {
        node: {"class_type": kind, "inputs": values}
        for node, (kind, values) in text_prompt().items()
        if kind.startswith("DiffuseIT")
    }
    prompt["sampler"]["inputs"] = prompt["sampler"]["inputs"] | inputs
    return json.dumps({"prompt": prompt, "node": "sampler"}).encode()


@pytest.mark.parametrize("path", [ESTIMATE, DOWNLOADS, POCKET_FILES])
@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_none_of_ours(server, path, case):
    body, status = BODIES[case]
    began = time.monotonic()
    answered, text = server.answer("POST", path, body, JSON)
    assert answered == status
    assert 0 < len(text) < 1000 and text.decode().strip().isprintable()
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("path", [ESTIMATE, DOWNLOADS, POCKET_FILES])
@pytest.mark.parametrize("case", HEADERS)
def test_a_sender_that_is_none_of_ours(open_server, path, case):
    headers, status = HEADERS[case]
    body = {ESTIMATE: estimate_body(), DOWNLOADS: b'{"name": "no such model"}', POCKET_FILES: b"{}"}[path]
    body = gzip.compress(body) if "Content-Encoding" in headers else body
    assert open_server.answer("POST", path, body, headers)[0] == status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "192.168.1.5", "ComfyUI.localhost"])
@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "here"}])
def test_pages_of_this_machine_are_answered(open_server, host, headers):
    place = f"{host}:{open_server.port}"
    headers = {name: f"http://{place}" if value == "here" else value for name, value in headers.items()}
    answered, text = open_server.answer("POST", ESTIMATE, estimate_body(), JSON | headers | {"Host": place})
    assert answered == 200
    assert json.loads(text)["steps"] == 5


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_pages_behind_a_proxy_are_answered(open_server, header):
    headers = JSON | {"Host": "comfy.example", "Origin": "https://comfy.example", header: "for=1.2.3.4"}
    assert open_server.answer("POST", ESTIMATE, estimate_body(), headers)[0] == 200


def test_another_site_stops_no_download(open_server):
    path = f"{DOWNLOADS}/dino-s16"
    assert open_server.answer("DELETE", path, headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert open_server.answer("DELETE", path)[0] == 204


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"steps": 10**9}, "steps is 1000000000: use 1 to 1000"),
        ({"resample": 10**400}, "resample is a number of more than 18 digits: use 1 to 100"),
        ({"ddpm": "x"}, "ddpm cannot be 'x': connect DiffuseIT Load DDPM to it"),
        ({"method": "x" * 10_000}, "method is 'xxx"),
    ],
)
def test_an_estimate_has_the_bounds_of_the_node(server, inputs, sentence):
    answered, text = server.answer("POST", ESTIMATE, estimate_body(**inputs), JSON)
    assert answered == 400
    assert json.loads(text)["error"].startswith(sentence)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(body=st.binary(max_size=100) | values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_answered(server, body):
    for path in (ESTIMATE, DOWNLOADS):
        assert 400 <= server.answer("POST", path, body, JSON)[0] < 500


def test_many_estimates_at_once_hold_up_no_other_request(server):
    """Some are refused; all are answered; the server answers others meanwhile, and its memory stays where it is."""
    body = estimate_body(steps=1000, skip=0, resample=100)
    statuses = []
    before = server.resident_bytes()
    senders = [
        threading.Thread(
            target=lambda: statuses.extend(server.answer("POST", ESTIMATE, body, JSON)[0] for _ in range(5))
        )
        for _ in range(60)
    ]
    for sender in senders:
        sender.start()
    slowest = 0.0
    while any(sender.is_alive() for sender in senders):
        began = time.monotonic()
        server.get("/prompt")
        slowest = max(slowest, time.monotonic() - began)
    assert len(statuses) == 300 and set(statuses) <= {200, 429} and 200 in statuses
    assert slowest < 5
    grown = server.resident_bytes() - before
    print(
        f"slowest other request {slowest:.2f} s, {statuses.count(429)} refused, grown by {grown / 2**20:.1f} MiB"
    )
    assert grown < 100 * 2**20
