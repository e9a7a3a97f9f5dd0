"""How an attempt to publish may end: before its transaction, within it, or after it, heard of or not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from pipeline_runner.bigquery import publishing as publishing_module
from pipeline_runner.bigquery.publishing import Publication, Publisher
from pipeline_runner.errors import DataError


class Stopped(BaseException):
    """The process ends here."""


class StopsBefore(Publisher):
    async def publish(self, publications: Sequence[Publication]) -> int | None:
        raise Stopped


class StopsAfter(Publisher):
    """The transaction is made, and nobody is left to hear of it."""

    async def publish(self, publications: Sequence[Publication]) -> int | None:
        await super().publish(publications)
        raise Stopped


class FailsInside(Publisher):
    """The script fails once the last target has its rows, and before there is a marker."""

    async def publish(self, publications: Sequence[Publication]) -> int | None:
        *others, last = publications
        return await super().publish([*others, replace(last, also=("SELECT ERROR('made to fail');",))])


class FailsAtTheEnd(Publisher):
    """The script fails once the marker is written, and before it is committed."""

    async def publish(self, publications: Sequence[Publication]) -> int | None:
        script = publishing_module.script

        def failing(run_id: str, given: Sequence[Publication]) -> str:
            end = "COMMIT TRANSACTION;"
            made = script(run_id, given)
            assert made.count(end) == 1
            return made.replace(end, f"SELECT ERROR('made to fail');\n{end}")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(publishing_module, "script", failing)
            return await super().publish(publications)


class Told(Publisher):
    """The run is told to stop while it publishes; how long it waits for its transaction is `seconds`."""

    seconds = 60.0

    async def commit(self, publications: Sequence[Publication]) -> int:
        self.task = asyncio.current_task()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(publishing_module, "_PUBLISH_SECONDS", self.seconds)
            return await super().commit(publications)

    def tell(self) -> None:
        assert self.task is not None
        self.task.cancel()


class ToldAndFinishes(Told):
    async def publish(self, publications: Sequence[Publication]) -> int | None:
        self.tell()
        return await super().publish(publications)


class ToldAfter(Told):
    """The transaction is made, and its answer doesn't come."""

    seconds = 0.01

    async def publish(self, publications: Sequence[Publication]) -> int | None:
        await super().publish(publications)
        self.tell()
        await asyncio.Event().wait()
        return None


class ToldBefore(Told):
    seconds = 0.01

    async def publish(self, publications: Sequence[Publication]) -> int | None:
        self.tell()
        await asyncio.Event().wait()
        return None


@dataclass(frozen=True)
class End:
    """How an attempt ends: what it raises, and whether its rows stand there then."""

    publishing: type[Publisher]
    raises: type[BaseException] | None = None
    published: bool = True


ENDS = (
    End(StopsBefore, Stopped, published=False),
    End(StopsAfter, Stopped),
    End(FailsInside, DataError, published=False),
    End(FailsAtTheEnd, DataError, published=False),
    End(ToldAndFinishes),
    End(ToldAfter),
    End(ToldBefore, asyncio.CancelledError, published=False),
)
WELL = End(Publisher)
