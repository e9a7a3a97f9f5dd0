"""When a runner may say that it has published: after the load, before it tidies up, and never without a success."""

import asyncio

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.run_document import RunDocument
from pipeline_runner.errors import ConfigError
from pipeline_runner.execution import execute
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.progress import Progress

DOCUMENT = RunDocument.model_validate(
    {
        "run_id": "run_1", "org_slug": "acme", "env": "test", "provider": "gcp", "domain": "cost",
        "pipeline": "billing", "logical_time": "2026-11-22T00:00:00Z", "parameters": {}, "timeout_seconds": 60,
        "max_retries": 0, "config": {"processor": {}, "target": {"dataset": "acme_test", "table": "t"}},
    }
)  # fmt: skip


class Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def published(self, records: int) -> None:
        self.lines.append(f"published {records}")


class Ends(BaseProcessor):
    """Loads with `result`, and closes with `trouble`; what it does is noted beside what is told."""

    result: object = ProcessorResult(3)
    trouble: BaseException | None = None

    async def extract(self, parameters: dict[str, object]) -> None:
        pass

    async def load(self, data: object) -> ProcessorResult:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[return-value]

    async def close(self) -> None:
        assert isinstance(self.progress, Told)
        self.progress.lines.append("closed")
        if self.trouble is not None:
            raise self.trouble


async def run(result: object, trouble: BaseException | None = None) -> tuple[ExitCode, list[str]]:
    kind = type("Kind", (Ends,), {"result": result, "trouble": trouble})
    told = Told()
    _, code = await execute(DOCUMENT, told, load=lambda config: kind)
    return code, told.lines


async def test_after_the_load_and_before_it_tidies_up() -> None:
    assert await run(ProcessorResult(3)) == (ExitCode.OK, ["published 3", "closed"])


@pytest.mark.parametrize("result", [ConfigError("no"), {"rows": 3}, ProcessorResult(-1)])
async def test_never_without_a_success(result: object) -> None:
    code, lines = await run(result)
    assert code is not ExitCode.OK
    assert lines == ["closed"]


@pytest.mark.parametrize("heeds", [True, False], ids=["ends when it is stopped", "goes on"])
async def test_a_stop_while_it_tidies_up_takes_nothing_back(heeds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_runner.execution.STOP_SECONDS", 0.01)
    closing, never = asyncio.Event(), asyncio.Event()

    class Tidies(Ends):
        async def close(self) -> None:
            closing.set()
            while not never.is_set():
                try:
                    await never.wait()
                except asyncio.CancelledError:
                    if heeds:
                        raise

    told = Told()
    task = asyncio.ensure_future(execute(DOCUMENT, told, load=lambda config: Tidies))
    await closing.wait()
    assert told.lines == ["published 3"]
    task.cancel()
    outcome, code = await task
    never.set()
    assert (outcome.status, outcome.records_processed, code) == ("succeeded", 3, ExitCode.OK)


@pytest.mark.parametrize("trouble", [RuntimeError("x"), asyncio.CancelledError()])
async def test_trouble_while_tidying_up_takes_nothing_back(trouble: BaseException) -> None:
    assert await run(ProcessorResult(3), trouble) == (ExitCode.OK, ["published 3", "closed"])
