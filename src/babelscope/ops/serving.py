"""One page for the browsers of this machine: served on its loopback address, and nothing else.

A page of another site can send requests to a server on this machine, and read its answers if a name of that
site leads here. So only requests that name this address are answered.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import urlsplit

from babelscope.errors import BabelscopeError

ADDRESS = "127.0.0.1"
#: Where it is served, if nothing else is said.
PORT = 8765


class PortError(BabelscopeError):
    """The page cannot be served where it should be."""

    section = "a-port"


class Page(Protocol):
    """What is served."""

    def version(self) -> str:
        """Another word when the page has changed."""
        ...

    def html(self) -> str:
        """The page."""
        ...


class PageServer(ThreadingHTTPServer):
    """Serves a page until it is shut down.

    Args:
        page: What is served.
        port: Of the loopback address; 0 takes one that is free.

    Raises:
        PortError: If the port is taken, or not one that may be used.
    """

    daemon_threads = True

    def __init__(self, page: Page, port: int) -> None:
        self.page = page
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise PortError(
                f"port {port} of {ADDRESS}: {getattr(error, 'strerror', None) or error}\n"
                "hint: another program has it, or it is none of 1024 to 65535: "
                "take another one with --port, or a free one with --port 0"
            ) from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away while it is answered is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """What to open."""
        return f"http://{ADDRESS}:{self.server_port}/"

    @property
    def hosts(self) -> tuple[str, str]:
        """What a browser on this machine calls it."""
        return f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "babelscope", ""

    def do_HEAD(self) -> None:
        """Which version there is."""
        if self._is_ours():
            self._send(HTTPStatus.OK, "")

    def do_GET(self) -> None:
        """The page."""
        if self._is_ours():
            self._send(HTTPStatus.OK, self.server.page.html())

    def _is_ours(self) -> bool:
        if self.headers.get("Host") not in self.server.hosts:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "This page is for this machine alone.")
        elif urlsplit(self.path).path != "/":
            self._send(HTTPStatus.NOT_FOUND, "There is one page here, /.")
        else:
            return True
        return False

    def _send(self, status: HTTPStatus, text: str) -> None:
        body = text.encode("utf-8")
        self.send_response(status)
        self.send_header(
            "Content-Type", f"text/{'html' if status is HTTPStatus.OK else 'plain'}; charset=utf-8"
        )
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("Referrer-Policy", "no-referrer")
        if status is HTTPStatus.OK:
            self.send_header("ETag", f'"{self.server.page.version()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal shows the study."""
