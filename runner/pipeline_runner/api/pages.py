"""Reads the pages of one span, and lets a bucket through only where it is proven to be the next one."""

from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog

from pipeline_runner.api.client import ApiClient
from pipeline_runner.api.dialect import Dialect
from pipeline_runner.api.envelope import Bucket, check_order, next_cursor, read_buckets
from pipeline_runner.api.outcomes import OversizedError
from pipeline_runner.api.spans import Span, instant
from pipeline_runner.errors import DataError, TransientError

_log = structlog.get_logger(__name__)

# How often in a row an answer may lack an interval before the run ends; a provider's replicas may lag.
_LACKING = 3


async def buckets(
    client: ApiClient, path: str, query: Sequence[tuple[str, str]], span: Span, dialect: Dialect
) -> AsyncGenerator[Bucket, None]:
    """All buckets of the span: each of its intervals once, in order.

    `query` holds what stays the same (bucket width, grouping). Only an iteration that ends has proven that nothing is
    lacking; what came before an error isn't to be published. An interval that lacks is asked for again, from there on;
    so is one in an answer that is too large, as one of half as many. Close it where it isn't read to its end.
    Raises DataError for an answer that breaks the rules of paging, TransientError if an interval keeps lacking, and
    what ApiClient.get raises.
    """
    reading, lacking = _Reading(client.name, path, span, dialect), 0
    while True:
        async with AsyncExitStack() as held:
            try:
                answer = await held.enter_async_context(client.answer(path, [*query, *reading.query()]))
            except OversizedError as error:
                reading.ask_for_less(error)
                continue
            page = reading.page(answer)
            brought = bool(page)
            # No name is kept for a bucket, nor for all of them: what was handed on needs no memory any more.
            while page and page[0].start == reading.expected:
                reading.expected, lacking = page[0].end, 0
                yield page.popleft()
            whole = not page
            page.clear()
            if whole and reading.goes_on(answer, brought=brought):
                continue
        if reading.expected == span.end:
            return
        lacking += 1
        if lacking >= _LACKING:
            raise TransientError(
                f"{client.name}: {path} of {span}: the answer lacks the bucket of {instant(reading.expected)}, "
                f"asked {lacking} times"
            )
        await client.back_off(lacking)
        reading.begin_anew()


class _Reading:
    """How far a span has been read (`expected` is the start of the next bucket), and how the next page is asked for."""

    def __init__(self, name: str, path: str, span: Span, dialect: Dialect) -> None:
        self._about, self._span, self._dialect = f"{name}: {path}", span, dialect
        self.expected = span.start
        self._limit = span.intervals
        self.begin_anew()

    def begin_anew(self) -> None:
        """Ask for what is left by its start, and no longer by a cursor."""
        self._rest = Span(self.expected, self._span.end, self._span.width)
        self._what = f"{self._about} of {self._rest}"
        self._cursor: str | None = None
        self._seen = set[str]()

    def query(self) -> list[tuple[str, str]]:
        """The window, how many buckets are wanted, and the cursor, as the dialect writes them."""
        write = self._dialect.times.write
        fixed = [
            (self._dialect.start_parameter, write(self._rest.start)),
            (self._dialect.end_parameter, write(self._rest.end)),
            (self._dialect.limit_parameter, str(min(self._limit, self._rest.intervals))),
        ]
        return fixed if self._cursor is None else [*fixed, (self._dialect.page_parameter, self._cursor)]

    def ask_for_less(self, error: OversizedError) -> None:
        """Ask for the same again, in pages half as long: by its start, since a cursor may be of its page's length."""
        left = Span(self.expected, self._span.end, self._span.width).intervals
        if left == 0:
            raise error  # all have come, and the page after them is none of theirs
        if (asked := min(self._limit, self._rest.intervals)) == 1:
            raise DataError(
                f"{error}, though it is about one bucket alone, that of {instant(self.expected)}; "
                "PIPELINES_API_MAX_BODY_BYTES may be raised, with the memory of the runner"
            )
        self._limit = asked // 2
        _log.info("an answer is too large, fewer buckets are asked for", of=self._what, asked=asked, now=self._limit)
        self.begin_anew()

    def page(self, answer: dict[str, Any]) -> deque[Bucket]:
        """The buckets, taken out of the answer: in order, none of them seen before. Raises DataError."""
        entries = answer.pop(self._dialect.buckets_field, None)
        found = deque(read_buckets(self._what, entries, self._rest, self._dialect))
        check_order(self._what, self.expected, found)
        return found

    def goes_on(self, answer: Mapping[str, Any], *, brought: bool) -> bool:
        """Whether there is a page after this one, which is asked for next. Raises DataError for one that can't be.

        A page that `brought` nothing and promises more isn't gone on from: it lacks the bucket that comes next.
        """
        self._cursor = next_cursor(self._what, answer, self._dialect)
        if self._cursor is None:
            return False
        if self._cursor in self._seen:
            raise DataError(f"{self._what}: the same {self._dialect.next_field} came twice: {self._cursor!r:.100}")
        if not brought and self.expected == self._span.end:
            # Each page brings something, or a provider that is wrong would be asked for ever.
            raise DataError(f"{self._what}: {self._dialect.more_field} is true on a page without buckets")
        self._seen.add(self._cursor)
        return brought
