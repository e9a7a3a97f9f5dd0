"""What large pages take of the runner's memory has a bound, however many are asked for at once."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta

from support.api_client import UNIX, entry, page
from support.raw_http_server import RawServer, answer

LARGEST = 16 * 1024 * 1024
AT_ONCE = 8
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RESULT = {
    "object": "organization.usage.completions.result",
    "input_tokens": 123_456,
    "output_tokens": 7_890,
    "num_model_requests": 321,
    "project_id": "proj_0123456789abcdef",
    "user_id": "user-0123456789abcdef",
    "api_key_id": "key_0123456789abcdef",
    "model": "gpt-4o-2024-08-06",
    "batch": False,
}
# Reads a page's buckets as the processors do, in turns with the others, and prints by how much its memory grew at most.
READER = rf"""
import asyncio, re, sys
from pathlib import Path
from contextlib import aclosing
from datetime import datetime, timedelta
from pipeline_runner.api.pages import buckets
from pipeline_runner.api.spans import Span
from support.api_client import UNIX, api_client

def most():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024

async def main():
    day, start = timedelta(days=1), datetime.fromisoformat("{START.isoformat()}")
    span = Span(start, start + 31 * day, day)
    rows = 0

    async def read(client):
        nonlocal rows
        async with aclosing(buckets(client, "/v1/x", [], span, UNIX)) as found:
            async for bucket in found:
                for result in bucket.results:
                    rows += 1
                    if rows % 20 == 0:
                        await asyncio.sleep(0)
                del bucket

    settings = {{"max_body_bytes": {LARGEST}}}
    async with api_client(base_url=sys.argv[1], at_once={AT_ONCE}, settings=settings) as client:
        before = most()
        await asyncio.gather(*(read(client) for _ in range({AT_ONCE})))
    print(rows, most() - before)

asyncio.run(main())
"""


async def test_large_pages_at_once_take_no_more_memory_than_two_and_the_bytes_of_the_others() -> None:
    each_day = int(LARGEST * 0.97 / 31 / len(json.dumps(RESULT)))
    body = json.dumps(
        page([entry(UNIX, START + index * DAY, DAY, [RESULT] * each_day) for index in range(31)])
    ).encode()
    assert LARGEST * 0.95 < len(body) < LARGEST
    async with RawServer(answer(body)) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", READER, server.url, stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        told, _ = await process.communicate()
    rows, grown = map(int, told.split())
    assert rows == AT_ONCE * 31 * each_day
    # As Python's objects a page takes less than five times its bytes; without the bound all eight would at once.
    assert grown < AT_ONCE * LARGEST + 2 * 5 * LARGEST
