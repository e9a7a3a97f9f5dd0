"""Progress messages: only a run's own token counts, and no message can do harm."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pipeline_core.lifecycle.observed import Progress, Published
from pipeline_operator.progress import Message, ProgressReceiver, progress_token

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
MESSAGE = {"run_id": "run_1", "pod_uid": "pod-1", "stage": "load", "progress": 80, "records": 7}
Client = TestClient[web.Request, web.Application]


@pytest.fixture
def accepted() -> list[tuple[str, Message]]:
    return []


@pytest.fixture
async def client(accepted: list[tuple[str, Message]]) -> AsyncIterator[Client]:
    def accept(run_id: str, progress: Message) -> bool:
        accepted.append((run_id, progress))
        return True

    app = web.Application()
    app.add_routes([ProgressReceiver("key", accept, lambda: NOW).route()])
    async with TestClient(TestServer(app)) as client:
        yield client


async def post(client: Client, body: Any, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token or progress_token('key', 'run_1')}"}
    async with client.post("/progress", json=body, headers=headers) as response:
        return response.status


async def test_a_message_with_the_runs_token_is_taken(client: Client, accepted: list[tuple[str, Message]]) -> None:
    assert await post(client, MESSAGE) == 204
    assert accepted == [("run_1", Progress("pod-1", "load", 80, 7, NOW))]


async def test_a_runner_may_say_that_it_has_published(client: Client, accepted: list[tuple[str, Message]]) -> None:
    assert await post(client, {**MESSAGE, "published_after": 2.5}) == 204
    assert accepted == [("run_1", Published("pod-1", 7, 2.5, NOW))]


@pytest.mark.parametrize("token", [progress_token("key", "run_2"), progress_token("other", "run_1"), "é"])
async def test_another_token_is_refused(client: Client, accepted: list[tuple[str, Message]], token: str) -> None:
    assert await post(client, MESSAGE, token) == 403
    assert accepted == []


@pytest.mark.parametrize(
    ("change", "status"),
    [({"progress": 101}, 400), ({"records": -1}, 400), ({"stage": "done"}, 400), ({"more": 1}, 400),
     ({"published_after": -1}, 400), ({"published_after": "inf"}, 400), ({"published_after": 1e12}, 400),
     ({"run_id": "x" * 5000}, 413)],
)  # fmt: skip
async def test_a_message_out_of_bounds_is_refused(
    client: Client, accepted: list[tuple[str, Message]], change: dict[str, Any], status: int
) -> None:
    assert await post(client, {**MESSAGE, **change}) == status
    assert accepted == []
