"""`pipelines backfill` over an API server in memory, whose schedule tenants/nightly has a tick each day at 06:00."""

from datetime import UTC, datetime
from typing import Any

from typer.testing import CliRunner, Result

from pipeline_cli.main import app
from pipeline_core.kube.api import Json
from support.bridge import FakeCluster

RUNNER = CliRunner()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OCTOBER = ("--from", "2026-10-01", "--to", "2026-10-31")
ID = "20261001-20261031"
STORED = {"id": ID, "from": "2026-10-01", "to": "2026-10-31", "concurrency": 1, "paused": False}
SPEC = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "0 6 * * *"}


class Server(FakeCluster):
    """The API server, and who writes what."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.managers: list[str] = []

    async def request(self, method: str, path: str, *, query: Any = None, body: Json | None = None) -> Json:
        if method == "PATCH":
            self.managers.append(query["fieldManager"])
        return await super().request(method, path, query=query, body=body)

    async def close(self) -> None:
        pass

    def schedule(self, *, backfill: Json | None = None, progress: Json | None = None, **more: Any) -> Json:
        metadata = {"name": "nightly", "namespace": "tenants", **more.pop("metadata", {})}
        spec = {**SPEC, **more} | ({"backfill": backfill} if backfill else {})
        status = {"backfill": progress} if progress else {}
        return self.put("pipelineschedules", {"metadata": metadata, "spec": spec, "status": status})

    @property
    def stored(self) -> Any:
        (found,) = self.objects.values()
        return found["spec"].get("backfill")


def invoke(*arguments: str, code: int = 0) -> Result:
    """What `pipelines backfill nightly` says; fails the test if it ends with another code."""
    result = RUNNER.invoke(app, ["backfill", "nightly", "-n", "tenants", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result
