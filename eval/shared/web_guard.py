"""What stands before every page that we serve: who may ask, for what, and how much.

    server = Server(...)              # a FastAPI application, with the page's own routes
    guard(server, args.host)          # when all of them are there

Refused, each with one line `{"error": "..."}`:

- 421: the header `Host` names neither the address that is listened at nor this machine. A page elsewhere whose name is
  made to lead here (DNS rebinding) would else be as good as our own. The port does not count: a tunnel has another.
- 403: the browser says that another site's page sends it (`Sec-Fetch-Site`).
- 404: a path that is no route of the page; Gradio brings some forty more, one of which keeps any file.
- 413: a body over `MOST_BYTES`, before it is in memory.
- 400: a body that is no JSON, or none that could be written again: NaN, infinities, half a surrogate pair.
- 400 and 422: what the routes themselves say (`UserError`, a model of pydantic).
"""

import ipaddress
import json
import socket

from eval.cli import UserError

MOST_BYTES = 2**20
ALL = ("", "0.0.0.0", "::")  # listens at each address of the machine
LOCAL = {"localhost", "127.0.0.1", "::1"}
LAUNCH = "/gradio_api/startup-events"  # Gradio's launch asks its own server for it, and fails without


def guard(server, host: str) -> None:
    """Put the guard before a FastAPI application that is to listen at `host`; it serves the routes that it has now."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    @server.exception_handler(UserError)
    def refuse(request, error):
        return JSONResponse({"error": str(error)}, status_code=400)

    @server.exception_handler(RequestValidationError)
    def malformed(request, error):  # FastAPI's own answer repeats the input, whatever it is
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where or 'the body'}: {first['msg']}"[:300]}, status_code=422)

    server.add_middleware(Guard, host=host, paths={route.path for route in server.routes} | {LAUNCH})


class Guard:
    """ASGI middleware: see the module.

    Args:
        host: the address that is listened at.
        paths: that are served.
    """

    def __init__(self, app, host: str, paths: set[str]):
        self.app, self.host, self.paths = app, host.lower(), paths
        machine = {socket.gethostname().lower(), socket.getfqdn().lower()}
        self.names = LOCAL | {self.host} | (machine if host in ALL else set())

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # no page has a web socket
            return await send({"type": "websocket.close", "code": 1008})
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        body = None if refusal else await _body(headers, receive)
        if body is None and not refusal:
            refusal = 413, f"a request has at most {MOST_BYTES:,} bytes"
        if body and (fault := _fault(body)):
            refusal = 400, fault
        if refusal:
            return await _answer(send, *refusal)
        given = [{"type": "http.request", "body": body, "more_body": False}]
        return await self.app(scope, lambda: _first(given, receive), send)

    def _refusal(self, scope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        """Status and reason, of what can be said without the body."""
        host, site = headers.get(b"host", ""), headers.get(b"sec-fetch-site", "none")
        if not self._is_here(host):
            cure = "ask it by the address it was started with (--host)"
            return 421, f"this server does not answer for the host {host[:100]!a}: {cure}"
        if scope["path"] not in self.paths:
            return 404, "there is no such page"
        if scope["method"] not in ("GET", "HEAD") and site not in ("same-origin", "none"):
            return 403, "this comes from the page of another site"
        return None

    def _is_here(self, given: str) -> bool:
        """Whether the header `Host` names this server; at all addresses any number does: only names are rebound."""
        name, _, port = given.rpartition(":") if not given.endswith("]") else (given, "", "")
        name = (name if port.isdecimal() else given).lower().rstrip(".").removeprefix("[").removesuffix("]")
        return name in self.names or self.host in ALL and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


async def _body(headers: dict[bytes, str], receive) -> bytes | None:
    """The whole body; None where it is too long, or where the client leaves before its end."""
    length = headers.get(b"content-length", "0")
    if not length.isdecimal() or int(length[:20]) > MOST_BYTES:
        return None
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _fault(body: bytes) -> str | None:
    """Why a body is no JSON that could be written again, in words."""
    try:
        value = json.loads(body)
        if _is_deep(value):
            return "the body is nested too deeply"
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return "a text holds half a surrogate pair"
    except RecursionError:
        return "the body is nested too deeply"
    except ValueError as error:
        return f"the body is no JSON: {error}"[:300]
    return None


def _is_deep(value, left: int = 64) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not left or any(_is_deep(part, left - 1) for part in inner)


async def _first(given: list[dict], receive) -> dict:
    """What was read already, then what comes, such as that the client leaves."""
    return given.pop() if given else await receive()


async def _answer(send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = {b"content-type": b"application/json", b"content-length": b"%d" % len(body), b"connection": b"close"}
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": body})
