"""A proxy before PostgreSQL that cuts a connection before or after a chosen statement, BEGIN and COMMIT among them.

It reads the protocol's messages, so that what is cut off before a statement has not reached the server, and what is cut
off after one has been done by it and only the answer is lost.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal, cast

from sqlalchemy import make_url

When = Literal["before", "after"]


class CutConnections:
    """`statements` are those that were sent since `arm`, also the one that was cut off."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._at: int | None = None
        self._when: When = "before"
        self.statements: list[str] = []
        self.has_cut = False
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def arm(self, at: int | None = None, when: When = "before") -> None:
        """Count from now on, and cut once at the statement number `at`, from 0; None: only count."""
        self._at, self._when, self.statements, self.has_cut = at, when, [], False

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection, until either side or the cut ends it."""
        this = cast("asyncio.Task[None]", asyncio.current_task())
        self._clients[this] = to_client
        this.add_done_callback(self._clients.pop)
        server, to_server = await asyncio.open_connection(*self._upstream)
        cut = asyncio.Event()  # from here on nothing goes back to the client; the next "ready" ends the connection
        tasks = [
            asyncio.create_task(self._forward(client, to_server, cut)),
            asyncio.create_task(self._back(server, to_client, cut)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (to_server, to_client):
                writer.transport.abort()

    async def end(self) -> None:
        """Cut all that are left, and wait until they are."""
        for to_client in self._clients.values():
            to_client.transport.abort()
        if self._clients:
            await asyncio.wait(list(self._clients))

    async def _forward(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        to_server.write(await _message(client, typed=False))
        waiting, statement = b"", ""
        while True:
            message = await _message(client)
            kind = message[:1]
            waiting += message
            if kind in b"PQ":
                statement = _statement(message)
            if kind not in b"QS":
                if kind == b"p":  # the password: not a statement
                    to_server.write(waiting)
                    waiting = b""
                continue
            number = len(self.statements)
            self.statements.append(statement)
            if number == self._at:
                self._at, self.has_cut = None, True
                if self._when == "before":
                    return
                cut.set()
            to_server.write(waiting)
            waiting = b""

    async def _back(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while True:
            message = await _message(server)
            if not cut.is_set():
                to_client.write(message)
            elif message[:1] == b"Z":
                return


async def _message(reader: asyncio.StreamReader, *, typed: bool = True) -> bytes:
    kind = await reader.readexactly(1) if typed else b""
    length = await reader.readexactly(4)
    return kind + length + await reader.readexactly(int.from_bytes(length) - 4)


def _statement(message: bytes) -> str:
    # Query: the text; Parse: the statement's name, which nobody gives, then the text
    body = message[5:] if message[:1] == b"Q" else message[5:].split(b"\0", 1)[1]
    return " ".join(body.split(b"\0", 1)[0].decode().split())


@asynccontextmanager
async def cut_connections(database_url: str) -> AsyncIterator[tuple[CutConnections, str]]:
    """A running proxy before this database, and the database's address through it."""
    url = make_url(database_url)
    assert url.host
    assert url.port
    proxy = CutConnections(url.host, url.port)

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await proxy.serve(client, to_client)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    plain = {"sslmode": "disable", "gssencmode": "disable"}  # so that the first message is the protocol's own
    through = url.set(host="127.0.0.1", port=port).update_query_dict(plain)
    try:
        yield proxy, through.render_as_string(hide_password=False)
    finally:
        server.close()
        await proxy.end()
