"""The noop processor: takes its time, reports its rows, and ends as it is told."""

import subprocess
import sys
from typing import Any

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_runner.errors import ConfigError, DataError, TransientError
from pipeline_runner.processors.demo.noop import NoopProcessor
from pipeline_runner.progress import Progress, Stage


class _Kept(Progress):
    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def report(self, stage: Stage, fraction: float, records: int = 0) -> None:
        self.stages.append(stage)


def _processor() -> NoopProcessor:
    return NoopProcessor({}, "acme", "run_1")


async def test_it_reports_its_rows() -> None:
    assert (await _processor().execute({"seconds": "0", "rows": 7})).records_processed == 7


async def test_it_goes_through_all_stages() -> None:
    processor = _processor()
    processor.progress = kept = _Kept()
    await processor.execute({"seconds": "0.03"})
    assert kept.stages == [Stage.EXTRACT, Stage.TRANSFORM, Stage.LOAD]


@pytest.mark.parametrize(
    ("fail", "error"),
    [("config", ConfigError), ("data", DataError), ("transient", TransientError), ("internal", RuntimeError)],
)
async def test_it_fails_as_told(fail: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"told to fail: {fail}"):
        await _processor().execute({"fail": fail})


@pytest.mark.parametrize(("fail", "code"), [("exit", 3), ("kill", -9)])
def test_it_dies_as_told(fail: str, code: int) -> None:
    script = (
        "import asyncio; from pipeline_runner.processors.demo.noop import NoopProcessor;"
        f"asyncio.run(NoopProcessor({{}}, 'acme', 'run_1').execute({{'fail': {fail!r}}}))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == code


@pytest.mark.parametrize("wrong", [{"fail": "oddly"}, {"seconds": "-1"}, {"rows": -1}])
async def test_a_wrong_parameter_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))) as caught:
        await _processor().execute(wrong)
    assert caught.value.exit_code is ExitCode.CONFIG
