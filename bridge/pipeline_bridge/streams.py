"""Answers that go on: until their end, until the client goes, or until the process is told to stop.

So many of them as `max_streams` says are served at a time; each holds a task and a connection, here or at Kubernetes.
No organization has more than its share of them, so that none keeps the others out.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline_bridge.problems import Problem
from pipeline_core.errors import PipelinesError
from pipeline_core.kube.api import KubeError, KubeUnavailableError

_log = structlog.get_logger(__name__)

_OF_SERVICES = (PipelinesError, KubeError, KubeUnavailableError)
# One organization's part of the places.
_SHARE = 4
# For the last bytes to a client that doesn't read.
_LAST_WORD_SECONDS = 1.0
# A proxy that collects the answer before it hands it on would hold back what is to be seen now.
_HEADERS = {"X-Accel-Buffering": "no"}


class Streams:
    """The open streams of a process: at most `most`, and a quarter of them for each organization, until `stopping`."""

    def __init__(self, most: int, stopping: asyncio.Event) -> None:
        self._most = most
        self._most_each = max(1, most // _SHARE)
        self._open: Counter[str] = Counter()
        self.stopping = stopping

    @contextmanager
    def place(self, org: str) -> Iterator[None]:
        """One of the places. Raises Problem (429) where all are taken, or all that the organization may have."""
        if self._open.total() >= self._most:
            raise _too_many(f"This process serves as many streams as it may ({self._most})")
        if self._open[org] >= self._most_each:
            raise _too_many(f"This process serves as many streams of the organization as it may ({self._most_each})")
        self._open[org] += 1
        try:
            yield
        finally:
            self._open[org] -= 1
            if not self._open[org]:
                del self._open[org]


def streams(request: Request) -> Streams:
    """Those of the request's process."""
    found: Streams = request.app.state.streams
    return found


def _too_many(detail: str) -> Problem:
    return Problem(429, "TooManyStreams", detail, headers={"Retry-After": "5"})


class Stream(StreamingResponse):
    """Sends `chunks` as they come; whatever ends it, the generator is closed and no task is left.

    `before` is awaited once there is a place for the organization, and may still raise what becomes another answer.
    """

    def __init__(
        self,
        open_streams: Streams,
        org: str,
        chunks: AsyncGenerator[bytes, None],
        media_type: str,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(chunks, headers=_HEADERS, media_type=media_type)
        self._streams = open_streams
        self._org = org
        self._chunks = chunks
        self._before = before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises Problem, before anything is sent, where there is no place, and what `before` raises."""
        with self._streams.place(self._org):
            if self._before is not None:
                await self._before()
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self.stream_response(send))
        stopped = asyncio.create_task(self._streams.stopping.wait())
        others = (asyncio.create_task(_left(receive)), stopped)
        try:
            await asyncio.wait((sending, *others), return_when=asyncio.FIRST_COMPLETED)
            # A process that stops leaves the client with an answer that is complete, if it reads.
            is_cut = stopped.done() and not sending.done()
        finally:
            for task in (sending, *others):
                task.cancel()
            await asyncio.wait((sending, *others))
            await self._chunks.aclose()
        if is_cut:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORD_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not sending.cancelled() and (error := sending.exception()) is not None:
            if not isinstance(error, _OF_SERVICES):
                raise error
            # The answer stays incomplete, which the server tells the client by closing the connection.
            _log.warning("stream broke off", path=scope["path"], error=str(error))


async def _left(receive: Receive) -> None:
    """Wait for the client to go. One that doesn't send its request to the end, in time and size, counts as gone."""
    with suppress(HTTPException):
        while (await receive())["type"] != "http.disconnect":
            pass
