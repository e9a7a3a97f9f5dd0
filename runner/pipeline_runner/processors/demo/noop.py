"""Does nothing, for as long as it is told, and then ends as it is told: succeeds, fails in any way, or never ends."""

import asyncio
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from pipeline_runner.errors import ConfigError, DataError, TransientError
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.progress import Stage

# How often a waiting stage reports.
_STEP_SECONDS = 0.5
_CHUNK_BYTES = 16 * 1024 * 1024


def _raise(error: Exception) -> None:
    raise error


def _eat_memory() -> None:
    held = []
    while True:
        held.append(b"x" * _CHUNK_BYTES)


def _hang() -> None:
    while True:  # blocks the event loop, as a processor with a defect may
        time.sleep(3600)


def _die() -> None:
    # The kernel spares the first process of a container the signals that it sends itself, but not its own.
    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    while True:
        pass


_ENDS: dict[str, Callable[[], object]] = {
    "config": lambda: _raise(ConfigError("told to fail: config")),
    "data": lambda: _raise(DataError("told to fail: data")),
    "transient": lambda: _raise(TransientError("told to fail: transient")),
    "internal": lambda: _raise(RuntimeError("told to fail: internal")),
    "exit": lambda: os._exit(3),
    "kill": _die,
    "memory": _eat_memory,
    "hang": _hang,
}


class NoopProcessor(BaseProcessor):
    """Parameters: `seconds` to take, spread over extract, transform and load; `rows` to report; `fail`, how to end."""

    async def validate(self, parameters: dict[str, Any]) -> None:
        self._seconds = float(parameters.get("seconds", 0))
        self._rows = int(parameters.get("rows", 0))
        self._fail = str(parameters.get("fail", ""))
        if self._seconds < 0 or self._rows < 0:
            raise ConfigError(f"seconds and rows: expected no negative number, got {self._seconds:g}, {self._rows}")
        if self._fail and self._fail not in _ENDS:
            raise ConfigError(f"fail: expected one of {', '.join(_ENDS)}, got {self._fail!r}")

    async def extract(self, parameters: dict[str, Any]) -> None:
        await self._wait(Stage.EXTRACT)

    async def transform(self, data: None) -> None:
        await self._wait(Stage.TRANSFORM)

    async def load(self, data: None) -> ProcessorResult:
        await self._wait(Stage.LOAD)
        if self._fail:
            _ENDS[self._fail]()
        return ProcessorResult(self._rows)

    async def _wait(self, stage: Stage) -> None:
        """A third of the time, reported as it passes."""
        share = self._seconds / 3
        waited = 0.0
        while waited < share:
            self.progress.report(stage, waited / share, self._rows)
            step = min(_STEP_SECONDS, share - waited)
            await asyncio.sleep(step)
            waited += step
