"""Who may ask: the holder of the token, from a page of this server, under a name of this machine.

The token stands in the URL that is printed and is exchanged for a cookie, which no script can read
and which no page of another site sends along. Browsers count all ports of a machine as one site, so
`Origin` is checked where a request asks for something to be done. A name in `Host` that is not this
machine's is refused: a page elsewhere can have its own name point here (DNS rebinding).
"""

import hmac
import ipaddress
import secrets
import socket
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# The page itself leads on: after a redirect, a browser that came from elsewhere would leave the
# cookie out.
ENTER = (
    '<!doctype html><meta http-equiv="refresh" content="0;url=/"><link rel="icon" href="data:,">'
    "<title>gym-loop</title>"
)


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(32)


class Guard:
    """Lets through to `app` what may ask, and refuses the rest in one line.

    Args:
        app: what is guarded.
        token: what a visitor has to know.
        port: of the server; a cookie is sent to all ports, so its name holds this one.
        host: the name or address that the server was told to listen on.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, host: str) -> None:
        self.app, self.token = app, token
        self.cookie = f"gym-loop-{port}"
        own = (host, "localhost", socket.gethostname(), socket.getfqdn())
        self.names = {name.lower() for name in own}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                # A browser may keep this package's own files, and asks whether they still hold.
                own = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if own else "no-store")
            await send(message)

        answer: ASGIApp = self._refusal(scope) or self.app
        await answer(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to whoever may not pass, or to whoever brings the token."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse("refused: the Host is none of this machine's names", 403)
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return PlainTextResponse("refused: asked from a page of another origin", 403)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("refused: this server only reads", 405)
        if scope["method"] == "POST" and origin is None and site != "same-origin":
            return PlainTextResponse("refused: asked from no page of this server", 403)
        given = parse_qs(scope["query_string"].decode("ascii", "replace")).get("token")
        if given and scope["path"] == "/":
            if not self._is_token(given[0]):
                return PlainTextResponse("refused: another token; see what serve printed", 403)
            response = HTMLResponse(ENTER)
            response.set_cookie(self.cookie, self.token, path="/", httponly=True, samesite="strict")
            return response
        if not self._is_token(HTTPConnection(scope).cookies.get(self.cookie, "")):
            return PlainTextResponse(
                "refused: no token; open the address that gym-loop serve has printed", 403
            )
        return None

    def _is_ours(self, host: str) -> bool:
        """Return whether a browser that asks for `host` cannot have been sent here by a name."""
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") <= 1:
            name = name.partition(":")[0]
        if name in self.names:
            return bool(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self.token.encode())
