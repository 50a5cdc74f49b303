"""Questions to a mirror, under rules: bounded answers, redirects only where they may lead, no address of a private net.

What goes wrong on the way is `Unanswered`, with a reason in words; what a mirror may not do is `Forbidden`.
"""

from __future__ import annotations

import functools
import http.client
import ipaddress
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from regard.hub import mirrors
from regard.words import say

SECONDS = 30.0  # without a byte
MOST_REDIRECTS = 5
_HOME = "https://huggingface.co"  # the only place that is ever told a token


class Unanswered(Exception):
    """No answer, or not the one that was asked for; another mirror may do better."""

    def __init__(self, key: str, /, **values: Any) -> None:
        super().__init__(say(f"hub.why.{key}", **values))
        self.key = key


class Forbidden(Unanswered):
    """An answer that leads where none may."""


def ask(url: str, kind: str, endpoint: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """The open answer to a GET, of status 200 or 206."""
    told = {"User-Agent": "regard", "Accept-Encoding": "identity", **(headers or {}), **_token(endpoint)}
    request = urllib.request.Request(url, headers=told)  # noqa: S310 (its scheme was looked at)
    try:
        return _opener(kind, endpoint).open(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise Unanswered(_STATUS.get(error.code, "status"), status=error.code) from None
    except urllib.error.URLError as error:
        raise _unanswered(error.reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unanswered(error) from error


def body(answer: http.client.HTTPResponse, most: int) -> bytes:
    """The whole of a small answer."""
    try:
        data = answer.read(most + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _unanswered(error) from error
    finally:
        answer.close()
    if len(data) > most:
        raise Forbidden("large", most=most)
    return data


_STATUS = {401: "locked", 403: "locked", 404: "absent", 416: "range", 429: "busy"}


def _unanswered(reason: Any) -> Unanswered:
    if isinstance(reason, Unanswered):
        return reason
    if isinstance(reason, ssl.SSLError):
        return Unanswered("tls", what=str(reason.reason or reason)[:120])
    if isinstance(reason, TimeoutError):
        return Unanswered("slow", seconds=int(SECONDS))
    if isinstance(reason, socket.gaierror):
        return Unanswered("unknown_host")
    if isinstance(reason, http.client.HTTPException):
        return Unanswered("cut")
    return Unanswered("no_connection", what=getattr(reason, "strerror", None) or type(reason).__name__)


def _token(endpoint: str) -> dict[str, str]:
    token = os.environ.get("HF_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token.isascii() and token and endpoint == _HOME else {}


def _opener(kind: str, endpoint: str) -> urllib.request.OpenerDirector:
    found = urllib.request.OpenerDirector()
    proxies = {} if _here(mirrors.origin(endpoint)[1]) else None  # None: as the environment says
    for handler in (
        urllib.request.ProxyHandler(proxies), urllib.request.UnknownHandler(), urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(), _Redirects(kind, endpoint), _Http(endpoint), _Https(endpoint),
    ):  # fmt: skip
        found.add_handler(handler)
    return found


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTS

    def __init__(self, kind: str, endpoint: str) -> None:
        self.kind, self.endpoint = kind, endpoint

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not mirrors.permitted(newurl, self.kind, self.endpoint):
            fp.close()
            raise Forbidden("elsewhere", where=ascii(newurl)[:120])
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and mirrors.origin(newurl) != mirrors.origin(self.endpoint):
            made.remove_header("Authorization")
        return made


class _Connection:
    """Connects to none but public addresses, and to the mirror's own; looked at after the name was looked up, so that
    a name which leads inside does not help."""

    def guard(self, trusted: tuple[str, int] | None) -> None:
        self.trusted = trusted
        self._create_connection = self._connected

    def _connected(self, address: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
        host, port = address
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if self.trusted is not None and (host.lower(), port) != self.trusted:
            private = [one[4][0] for one in found if not ipaddress.ip_address(str(one[4][0]).split("%")[0]).is_global]
            if private:
                raise Forbidden("private", host=host, address=private[0])
        failed: OSError | None = None
        for one in found:
            try:
                return socket.create_connection((str(one[4][0]), port), timeout, source)
            except OSError as error:
                failed = error
        raise failed or OSError("no address")


class _Plain(_Connection, http.client.HTTPConnection):
    def __init__(self, host: str, trusted: tuple[str, int] | None, **settings: Any) -> None:
        http.client.HTTPConnection.__init__(self, host, **settings)
        self.guard(trusted)


class _Tls(_Connection, http.client.HTTPSConnection):
    def __init__(self, host: str, trusted: tuple[str, int] | None, **settings: Any) -> None:
        http.client.HTTPSConnection.__init__(self, host, **settings)
        self.guard(trusted)


class _Http(urllib.request.HTTPHandler):
    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self.trusted = mirrors.origin(endpoint)[1:]

    def http_open(self, req: Any) -> Any:
        return self.do_open(functools.partial(_Plain, trusted=_trusted(req, self.trusted)), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, endpoint: str) -> None:
        super().__init__(context=ssl.create_default_context())
        self.trusted = mirrors.origin(endpoint)[1:]

    def https_open(self, req: Any) -> Any:
        made = functools.partial(_Tls, trusted=_trusted(req, self.trusted))
        return self.do_open(made, req, context=ssl.create_default_context())


def _trusted(request: Any, endpoint: tuple[str, int]) -> tuple[str, int] | None:
    """The one private address that may be connected to; None where a proxy of the user's does the connecting."""
    return None if request.has_proxy() or getattr(request, "_tunnel_host", None) else endpoint


def _here(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")
