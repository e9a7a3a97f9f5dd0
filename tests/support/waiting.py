"""Waiting in tests: for a condition, with a deadline, never for a fixed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def listens(port: int) -> bool:
    """Whether somebody takes connections on this port of the loopback."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def eventually(probe: Callable[[], Awaitable[T]], *, seconds: float = 15.0, every: float = 0.02) -> T:
    """The first truthy result of `probe`; fails the test with the last one when the time is over."""
    deadline = time.monotonic() + seconds
    while not (result := await probe()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s; last: {result!r}"
        await asyncio.sleep(every)
    return result
