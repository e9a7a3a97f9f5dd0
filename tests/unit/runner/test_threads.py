"""What is awaited together runs at once, ends with the same error each time, and stops together."""

import asyncio

import pytest

from pipeline_runner.bigquery.threads import together


async def test_results_come_in_order_and_all_run_at_once() -> None:
    both = asyncio.Barrier(2)

    async def one(value: int) -> int:
        await both.wait()
        return value

    async with asyncio.timeout(10):
        assert await together(one(1), one(2)) == (1, 2)


async def test_the_first_in_order_says_what_went_wrong_even_where_another_failed_sooner() -> None:
    failed = asyncio.Event()

    async def late() -> None:
        await failed.wait()
        raise ValueError("first")

    async def early() -> None:
        failed.set()
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        await together(late(), early())


async def test_a_stop_reaches_all_of_them() -> None:
    stopped, both = [], asyncio.Barrier(3)

    async def endless(name: str) -> None:
        try:
            await both.wait()
            await asyncio.Event().wait()
        finally:
            stopped.append(name)

    work = asyncio.ensure_future(together(endless("a"), endless("b")))
    await both.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert sorted(stopped) == ["a", "b"]
