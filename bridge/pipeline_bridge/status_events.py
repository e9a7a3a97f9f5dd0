"""A run's status as server-sent events: at once, at each change, until the run has ended.

https://html.spec.whatwg.org/multipage/server-sent-events.html says what is on the wire.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from pipeline_bridge.models.records import status_body
from pipeline_bridge.reading import encode
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.views import RunStatus

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0

Read = Callable[[], Awaitable[RunStatus | None]]


def event_id(run: RunStatus) -> str:
    """What tells one status of a run from another: its revision, which progress doesn't raise, and its progress."""
    return f"{run.revision}.{run.progress}"


async def status_events(
    first: RunStatus, read: Read, *, known: str | None = None, poll_seconds: float = POLL_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The events from the status `first` on, but for the one whose id is `known`; `read` reads the status again."""
    run: RunStatus | None = first
    is_away = False
    while run is not None:  # a record that is deleted has nothing more to tell
        if (identity := event_id(run)) != known:
            known = identity
            yield b"id: %b\nevent: status\ndata: %b\n\n" % (identity.encode(), encode(status_body(run)))
        if run.phase.is_final:
            return
        await tick(poll_seconds)
        try:
            run = await read()
            is_away = False
        except StoreUnavailableError:
            if not is_away:
                yield b": the store can't be reached; still trying\n\n"
            is_away = True


async def with_heartbeats(
    chunks: AsyncGenerator[bytes, None], *, seconds: float = HEARTBEAT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The chunks, and a comment whenever none has come for so long: proxies close connections that say nothing."""
    coming = asyncio.ensure_future(anext(chunks))
    try:
        while True:
            await asyncio.wait((coming,), timeout=seconds)
            if not coming.done():
                yield b": heartbeat\n\n"
                continue
            try:
                chunk = coming.result()
            except StopAsyncIteration:
                return
            yield chunk
            coming = asyncio.ensure_future(anext(chunks))
    finally:
        coming.cancel()
        await asyncio.wait((coming,))
        await chunks.aclose()


async def tick(seconds: float) -> None:
    """Wait for the next multiple of `seconds`: all streams of a process ask together then, in one query."""
    await asyncio.sleep(seconds - asyncio.get_running_loop().time() % seconds)
