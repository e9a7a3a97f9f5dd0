"""The base of all processors, and what they return."""

import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipeline_runner.credentials import Credentials
from pipeline_runner.errors import ConfigError
from pipeline_runner.progress import Progress, Stage

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessorResult:
    """What a run did: `records_processed` rows stand in the target for the run's window.

    `details` are further facts for the log; they don't reach the run's record.
    """

    records_processed: int
    details: Mapping[str, object] = field(default_factory=dict)


class BaseProcessor:
    """One run of one pipeline: validate, extract, transform, load.

    `config` is the pipeline's resolved config. The methods are coroutines of one task; blocking work belongs on a
    thread. On SIGTERM the task is cancelled, then `close` has a few seconds to tidy up. Raise TransientError,
    ConfigError or DataError (pipeline_runner.errors) to say why a run can't go on.
    """

    # Set by the runner after construction, so that the constructor keeps the shape that processors rely on.
    progress: Progress = Progress()
    # Those of the run's organization for its provider, set likewise; None only where no runner set them.
    credentials: Credentials | None = None

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        self.config = config
        self.org_slug = org_slug
        self.run_id = run_id
        self.stages: dict[str, float] = {}

    async def execute(self, parameters: dict[str, Any]) -> ProcessorResult:
        """The whole run; `stages` then holds the seconds of each stage."""
        await self._timed(Stage.VALIDATE, self.validate(parameters))
        data = await self._timed(Stage.EXTRACT, self.extract(parameters))
        transformed = await self._timed(Stage.TRANSFORM, self.transform(data))
        return await self._timed(Stage.LOAD, self.load(transformed))

    def check_config(self) -> None:
        """Raise ConfigError where no run could use the config, whatever its parameters; no service is asked.

        `pipelines validate` calls it, with a sample of what templates stand for, and runs should in `validate`.
        """

    async def validate(self, parameters: dict[str, Any]) -> None:
        """Check config and parameters before anything is read."""

    async def extract(self, parameters: dict[str, Any]) -> Any:
        """Bring the source's data within reach; a handle to it is enough, large data is never held in memory."""
        raise NotImplementedError(f"{type(self).__name__} has no extract()")

    async def transform(self, data: Any) -> Any:
        """Change what was extracted; unchanged by default."""
        return data

    async def load(self, data: Any) -> ProcessorResult:
        """Make the data visible in the target, whole or not at all."""
        raise NotImplementedError(f"{type(self).__name__} has no load()")

    async def preview(self, parameters: dict[str, Any]) -> dict[str, str]:
        """What `execute` would read, write and replace, as labels and texts; nothing is written."""
        raise ConfigError(f"{type(self).__name__} can't say beforehand what it would do")

    async def close(self) -> None:
        """Give back what the run holds; called once at the end, whatever happened."""

    async def _timed(self, stage: Stage, work: Awaitable[T]) -> T:
        started = time.monotonic()
        try:
            return await work
        finally:
            self.stages[stage.value] = round(time.monotonic() - started, 3)
