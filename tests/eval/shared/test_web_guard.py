"""What stands before the pages: requests that are not the page's own are refused, and cost nothing."""

import json
import socket
import threading
import time

import pytest

from eval.cli import UserError
from eval.shared.web_guard import MOST_BYTES, Guard, guard


def client(host: str = "127.0.0.1"):
    """A client of a small guarded application, and the bodies that its route has read."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from pydantic import BaseModel

    class Given(BaseModel):
        number: float = 0
        text: str = ""

    app, seen = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), []

    @app.get("/")
    def index():
        return "page"

    @app.post("/act")
    def act(given: Given):
        if given.text == "bad":
            raise UserError("bad input")
        seen.append(given)
        return given

    guard(app, host)

    @app.post("/later")  # as those that Gradio adds when it is launched
    def later():
        return "kept"

    return TestClient(app, base_url="http://127.0.0.1:7860"), seen


HOSTS = [
    ("127.0.0.1:7860", "127.0.0.1", True),
    ("LOCALHOST.", "127.0.0.1", True),
    ("[::1]:80", "127.0.0.1", True),
    ("[::1]", "::1", True),
    ("evil.example:7860", "127.0.0.1", False),
    ("127.0.0.1.evil.example", "127.0.0.1", False),
    ("evil.example", "0.0.0.0", False),
    ("192.168.0.7:7860", "0.0.0.0", True),
    ("[fe80::1]:7860", "::", True),
    ("192.168.0.7", "127.0.0.1", False),
    ("chat.lan:7860", "chat.lan", True),
    ("", "127.0.0.1", False),
    ("", "0.0.0.0", False),
]


@pytest.mark.parametrize("given, bound, here", HOSTS)
def test_only_our_own_names_are_answered(given, bound, here):
    answer = client(bound)[0].get("/", headers={"Host": given})
    assert answer.status_code == (200 if here else 421)
    assert here or answer.json()["error"].startswith("this server does not answer for the host ")


def test_the_name_of_the_machine_is_its_own_where_all_addresses_are():
    for host, status in (("0.0.0.0", 200), ("127.0.0.1", 421)):
        answer = client(host)[0].get("/", headers={"Host": f"{socket.gethostname()}:7860"})
        assert answer.status_code == (200 if socket.gethostname().lower() in ("localhost", "127.0.0.1") else status)


def test_other_paths_and_other_sites_are_refused():
    asks, seen = client()
    for path in ("/later", "/gradio_api/upload", "/docs", "/act/", "/ACT"):
        assert asks.post(path, json={}).status_code == 404
    for site, status in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]:
        assert asks.post("/act", json={}, headers={"Sec-Fetch-Site": site}).status_code == status
    assert asks.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link to the page
    assert len(seen) == 2


BAD = [
    (b'{"number": NaN}', 400, "no JSON"),
    (b'{"number": -Infinity}', 400, "no JSON"),
    (b'{"number": 1e999}', 400, "no JSON"),
    (b'{"text": "\\ud800"}', 400, "half a surrogate pair"),
    (b'{"other": {"\\udc00": 1}}', 400, "half a surrogate pair"),
    (b'{"text": "\\ud83d\\ude00"}', 200, ""),
    (b'{"text": "\xff"}', 400, "no JSON"),
    (b'{"text": ', 400, "no JSON"),
    (b'{"number": 1' + b"0" * 5000 + b"}", 400, "no JSON"),
    (b"[" * 100_000, 400, "nested too deeply"),
    (b'{"x":' + b"[" * 100 + b"]" * 100 + b"}", 400, "nested too deeply"),
    (b'{"number": "much"}', 422, "number: "),
    (b"[]", 422, "the body: "),
    (b'{"text": "bad"}', 400, "bad input"),
    (b'{"text": "' + b"x" * MOST_BYTES + b'"}', 413, "at most 1,048,576 bytes"),
]


@pytest.mark.parametrize("body, status, message", BAD)
def test_a_bad_body_is_one_clear_line(body, status, message):
    answer = client()[0].post("/act", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    if message:
        error = answer.json()["error"]
        assert message in error and len(error) <= 300 and "\n" not in error


def test_a_body_of_pieces_is_read_whole_and_no_further_than_allowed():
    asks, seen = client()
    pieces = [b'{"text": "', b"x" * 500_000, b"y" * 500_000, b'"}']
    assert asks.post("/act", content=iter(pieces), headers={"Content-Type": "application/json"}).status_code == 200
    assert seen[0].text == "x" * 500_000 + "y" * 500_000
    taken = []

    def endless():
        for number in range(1000):
            taken.append(number)
            yield b"x" * 100_000

    import anyio

    async def ask():
        """One request without a length; the body's pieces come as they are asked for."""
        given, sent = endless(), []

        async def receive():
            return {"type": "http.request", "body": next(given), "more_body": True}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/act", "headers": [(b"host", b"localhost")]}
        await Guard(None, "127.0.0.1", {"/act"})(scope, receive, send)
        return sent

    sent = anyio.run(ask)
    assert sent[0]["status"] == 413 and len(taken) == 11


def test_a_length_over_the_limit_is_refused_before_a_byte_is_sent():
    """By a real server: the answer comes while the client has sent no more than the header."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(client()[0].app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    for length in ("200000000", "9" * 4000, "-1"):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as asked:
            asked.sendall(f"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
            said = b"".join(iter(lambda: asked.recv(4096), b""))  # until the server closes
        status = int(said.split()[1])
        told = status == 413 and json.loads(said.partition(b"\r\n\r\n")[2])["error"]
        assert told or (status == 400 and length != "200000000")  # what is no number the server itself refuses
    server.should_exit = True
    thread.join()


def test_web_sockets_are_closed():
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client()[0].websocket_connect("/act"):
        pass
