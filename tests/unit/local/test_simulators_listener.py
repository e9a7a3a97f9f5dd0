"""The simulators answer without the 40 ms that an answer in two pieces waits for where Nagle's algorithm is on."""

import socket

import pytest

from pipeline_local.errors import LocalError
from pipeline_local.services.processes import LOOPBACK
from pipeline_local.simulators.server import listener


def test_connections_send_at_once() -> None:
    with listener(LOOPBACK, 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_told() -> None:
    with listener(LOOPBACK, 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"the simulators can't listen on {LOOPBACK}:{port}"):
            listener(LOOPBACK, port)
