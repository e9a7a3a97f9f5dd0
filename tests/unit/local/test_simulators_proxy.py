"""The proxy before a simulated server."""

import socket

from pipeline_local.simulators.proxy import Call, Reply, proxy


def test_a_request_that_comes_by_half_is_none() -> None:
    """Its client is gone; forwarded, it would leave the server waiting for the rest."""
    decided: list[Call] = []

    def decide(call: Call) -> Reply:
        decided.append(call)
        return Reply(200, b"", {})

    with proxy("http://127.0.0.1:1", decide) as url, socket.create_connection(_address(url), timeout=10) as client:
        client.sendall(b"POST /jobs HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nha")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert decided == []


def test_a_whole_one_is_answered() -> None:
    with (
        proxy("http://127.0.0.1:1", lambda call: Reply(200, call.body, {})) as url,
        socket.create_connection(_address(url), timeout=10) as client,
    ):
        client.sendall(b"POST /jobs HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhole")
        assert client.makefile("rb").read().endswith(b"\r\n\r\nwhole")


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)
