"""How a component shows that it works, asked without a client library: `up` and `status` have to be quick."""

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 3.0

Probe = Callable[[], str | None]
"""None when the component works, else what is wrong."""


def http_ok(port: int, path: str) -> Probe:
    """A plain health page on loopback."""
    return lambda: _get(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT), path)


def https_ok(port: int, path: str, authority: Path, certificate: Path, key: Path) -> Probe:
    """A health page behind TLS; the server is checked against the authority, we show the certificate."""

    def probe() -> str | None:
        try:
            context = ssl.create_default_context(cafile=str(authority))
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            return f"certificates: {error}"
        return _get(http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=context), path)

    return probe


def socket_open(path: Path) -> Probe:
    """A Unix socket that somebody accepts connections on."""

    def probe() -> str | None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            try:
                client.connect(str(path))
            except OSError as error:
                return f"{path}: {error.strerror or error}"
            return None

    return probe


def _get(connection: http.client.HTTPConnection, path: str) -> str | None:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if response.status == http.client.OK else f"{path} answered {response.status}: {body.strip()}"
