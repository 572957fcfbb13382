"""The server of exploring.py: one page, its tiles, spins and curves, to browsers of this machine.

It speaks HTTP with Python's own server, a thread a connection; what takes time is drawn in turns. It hands out what it has drawn
and the few files of the page, nothing else; it refuses requests whose Host is not its own (a page elsewhere whose name was bent to
this address) and those that another site's page sends.
"""

from __future__ import annotations

import io
import ipaddress
import json
import os
import select
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.exploring import curve, requests
from ising_rg.exploring.atlases import Atlases
from ising_rg.exploring.requests import Refusal
from ising_rg.exploring.turns import Busy, Gone
from ising_rg.figures import pages
from ising_rg.run import settings
from ising_rg.spins import bitmaps

_BAND_SITES = 2**22  # of a window that is handed out, drawn at a time: tiles of the page come between
_IDLE = 60  # s, after which a connection that says nothing is closed
_FILES = {
    "/": ("exploring/page.html", "text/html"),
    "/page.css": ("exploring/page.css", "text/css"),
    "/page.js": ("exploring/page.js", "text/javascript"),
    "/panels.js": ("exploring/panels.js", "text/javascript"),
    "/viewer.css": ("figures/viewer.css", "text/css"),
    "/viewer.js": ("figures/viewer.js", "text/javascript"),
    "/openseadragon.js": (pages.VIEWER, "text/javascript"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingHTTPServer):
    """Listens at an address; `serve_forever` answers.

    Args:
        address: (IP address or localhost, port; 0: any free one).
        atlases: what it shows.
        first: (seed, xi) that the page begins with.
        told: dict of settings that decide the spins, for descriptions of windows.

    Raises:
        UserError: it cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], atlases: Atlases, first: tuple[int, float | str], told: dict):
        self.atlases, self.first, self.told = atlases, first, told
        if not (address[0] == "localhost" or is_address(address[0])):
            raise UserError(f'LISTEN: found "{address[0]}", needed an IP address, 127.0.0.1 for this machine alone')
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.files = {path: (pages.text(name).encode(), kind) for path, (name, kind) in _FILES.items()}
        try:
            super().__init__(address, Handler)
        except OSError as error:
            raise UserError(
                f"LISTEN, PORT: found {address[0]}, {address[1]}, where it cannot listen ({error.strerror}); take 127.0.0.1 and 0"
            ) from None
        self.port = self.server_address[1]
        self.host = f"[{address[0]}]" if ":" in address[0] else address[0]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    def is_own(self, host: str) -> bool:
        """Tell whether a Host header, name:port, is this server's."""
        name, _, port = host.lower().rpartition(":")
        if port != str(self.port):
            return False
        if name in ("127.0.0.1", "localhost", "[::1]", self.host.lower()):
            return True
        return not loopback(self.host.strip("[]")) and (is_address(name) or name == socket.gethostname().lower())

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that broke; anything else is a fault, told on standard error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def is_address(name: str) -> bool:
    """Tell whether a name is an IP address, of version 6 in brackets or not."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def loopback(name: str) -> bool:
    """Tell whether an address is one of this machine alone."""
    return name == "localhost" or is_address(name) and ipaddress.ip_address(name).is_loopback


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ising_rg", ""
    timeout = _IDLE
    disable_nagle_algorithm, wbufsize = True, -1  # else an answer waits 40 ms between its header and the rest

    def do_GET(self) -> None:
        self._begun = False
        try:
            self._check_sender()
            try:
                parts = urlsplit(self.path)
            except ValueError:
                raise Refusal(404, "There is no such page.") from None
            if parts.scheme or parts.netloc:
                raise Refusal(404, "There is no such page.")
            if parts.path in self.server.files:
                self._answer(200, *self.server.files[parts.path])
            else:
                numbers = requests.asked(parts.path, self._query(parts.query), self.server.atlases.stages + 1)
                getattr(self, "_" + parts.path[1:].replace(".", "_"))(numbers)
        except Refusal as refusal:
            self._answer(refusal.status, refusal.sentence)
        except (IndexError, UserError) as error:
            self._answer(400, str(error).split(";")[0] + ".")
        except Busy:
            if self._begun:  # half a window has gone out: it ends short of its length
                self.close_connection = True
            else:
                self._answer(503, "Too many requests wait already.")
        except (Gone, OSError):
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what Python's server refuses by itself, methods and malformed requests, with a sentence."""
        self.close_connection = True
        self._answer(int(code), "The request is not understood.")

    def log_message(self, *arguments: object) -> None:
        """Say nothing of requests."""

    def _check_sender(self):
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        if not self.server.is_own(self.headers.get("Host", "")):
            raise Refusal(403, "The Host of this request is not this server's.")
        if origin is not None and not (origin.startswith("http://") and self.server.is_own(origin[7:])):
            raise Refusal(403, "The Origin of this request is not this server's.")
        if site == "cross-site" and self.headers.get("Sec-Fetch-Mode") != "navigate":
            raise Refusal(403, "This request comes from another site's page.")

    def _query(self, query):
        """Return the query, with the seed and correlation length of the script where the page names none."""
        seed, xi = self.server.first
        names = {part.split("=")[0] for part in query.split("&")}
        added = [f"{name}={value}" for name, value in (("seed", seed), ("xi", xi)) if name not in names]
        return "&".join([*filter(None, [query]), *added])

    def _lattice(self, numbers):
        self._answer_json(self.server.atlases.atlas(*_key(numbers)).facts())

    def _tile(self, numbers):
        place = tuple(numbers[name] for name in ("level", "x", "y"))
        self._answer(200, self.server.atlases.tile(_key(numbers), place, self._gone), "image/png")

    def _curve(self, numbers):
        window, level = self._window(numbers, curve.SMALLEST)
        with self.server.atlases.turns.turn(self._gone):
            atlas = self.server.atlases.atlas(*_key(numbers))
            spins = atlas.spins(numbers["level"], *window)
            beta = atlas.lattice.stage(atlas.levels[numbers["level"]].stage).beta
            found = curve.of(spins, level, beta)
        self._answer_json(found)

    def _spins_npy(self, numbers):
        (row, column, height, width), _ = self._window(numbers)
        n, header = max(1, _BAND_SITES // width), io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|i1", "fortran_order": False, "shape": (height, width)})
        for first in range(0, height, n):
            with self.server.atlases.turns.turn(self._gone):
                atlas = self.server.atlases.atlas(*_key(numbers))
                part = (row + first, column, min(n, height - first), width)
                spins = bitmaps.to_spins(atlas.spins(numbers["level"], *part))
            if first == 0:  # nothing fails that has not failed by now
                length = header.tell() + height * width
                self._begin(200, "application/octet-stream", length, self._file_name(numbers, "npy"))
                self.wfile.write(header.getvalue())
            self.wfile.write(spins.data)

    def _spins_json(self, numbers):
        window, side = self._window(numbers)
        atlas = self.server.atlases.atlas(*_key(numbers))
        level = atlas.levels[numbers["level"]]
        if level.block > 1:
            raise Refusal(400, "zoom in: here a pixel is an average of spins.")
        about = {
            "beta": atlas.lattice.stage(level.stage).beta,
            "seed": numbers["seed"],
            "config": 0,
            "stage": level.stage,
            "window": list(window),
            "torus": side,
            "python": f"{atlas.python()}.stage({level.stage})",
        }
        told = SimpleNamespace(**{**self.server.told, "SEED": numbers["seed"], "XI": numbers["xi"]})
        body = json.dumps(settings.provenance(told, **about), indent=1) + "\n"
        self._answer(200, body, "application/json", self._file_name(numbers, "json"))

    def _window(self, numbers, smallest=1):
        side = self.server.told["START_SIZE"] * 3 ** numbers["level"]
        return requests.window(numbers, side, smallest), side

    def _file_name(self, numbers, ending):
        return "spins_seed{seed}_xi{xi}_level{level}_y{row}_x{column}_{height}x{width}.{ending}".format(
            ending=ending, **numbers
        )

    def _gone(self):
        """Tell whether the browser has closed the connection."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _answer_json(self, content):
        self._answer(200, json.dumps(content), "application/json")

    def _answer(self, status, body, kind="text/plain", file_name=None):
        body = body.encode() if isinstance(body, str) else body
        self._begin(status, kind, len(body), file_name)
        self.wfile.write(body)

    def _begin(self, status, kind, length, file_name=None):
        self._begun = True
        self.send_response(status)
        text = kind.startswith("text/") or kind == "application/json"
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
        self.send_header("Content-Length", str(length))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if file_name:
            self.send_header("Content-Disposition", f'attachment; filename="{file_name}"')
        self.end_headers()


def _key(numbers):
    return numbers["seed"], numbers["xi"]


def serve(server: Server, ready: Callable[[], object] = lambda: None) -> None:
    """Answer until Ctrl-C, which ends it quietly; ready: called once the server listens."""
    ready()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("\nended")
    finally:
        server.server_close()


def told(s: SimpleNamespace) -> dict:
    """Return the settings that decide the spins; of the kernel's file its name alone: a page tells nothing of folders."""
    names = {name: getattr(s, name) for name in ("START_SIZE", "STAGES")}
    return {**names, "KERNEL_FILE": os.path.basename(s.KERNEL_FILE)}
