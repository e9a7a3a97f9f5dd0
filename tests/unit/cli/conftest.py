"""The API server that commands find, in memory."""

import pytest

from pipeline_cli import backfill_steps
from pipeline_core.kube.api import KubeApi
from support.backfill_command import NOW, Server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()

    async def connect() -> Server:
        return made

    monkeypatch.setattr(KubeApi, "from_environment", connect)
    monkeypatch.setattr(backfill_steps, "now", lambda: NOW)
    monkeypatch.setattr(backfill_steps, "_LOOK_SECONDS", 0)
    monkeypatch.delenv("PIPELINES_DATABASE_URL", raising=False)
    return made
