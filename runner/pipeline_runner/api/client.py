"""Asks a provider's JSON API: a few requests at once, each again where that helps and not sooner than allowed."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2
import structlog
from pydantic import SecretStr

from pipeline_runner.api import retries
from pipeline_runner.api.clock import Clock
from pipeline_runner.api.exchange import Answer, Exchange
from pipeline_runner.api.gate import Gate
from pipeline_runner.api.outcomes import Trouble, judged
from pipeline_runner.api.patience import Patience
from pipeline_runner.api.retries import Wait
from pipeline_runner.errors import TransientError
from pipeline_runner.settings import ApiSettings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RateLimits:
    """What a provider puts up with: `at_once` requests on their way at the same time."""

    at_once: int = 4


class ApiClient:
    """One provider's API, for an `async with` block: `name` stands in messages, `key_kind` says which key is expected.

    `secret_headers` are sent to `base_url` alone. Raises ConfigError for an address or a header that can't be used.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        secret_headers: Mapping[str, SecretStr],
        limits: RateLimits,
        settings: ApiSettings,
        key_kind: str = "",
        clock: Clock | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._key_kind = key_kind
        self._settings = settings
        self._clock = clock or Clock()
        self._gate = Gate(self._clock)
        self._slots = asyncio.Semaphore(limits.at_once)
        # So all that are unpacked at a time are never more than two of the largest.
        self._small_bytes = settings.max_body_bytes // limits.at_once
        self._one_large = asyncio.Lock()
        self._requests_made = 0
        self._exchange = Exchange(
            base_url, headers, secret_headers, at_once=limits.at_once, settings=settings, transport=transport
        )

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)

    @property
    def requests_made(self) -> int:
        """How many requests were sent, repeated ones included."""
        return self._requests_made

    async def get(self, path: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """The JSON object at `path` (from `base_url` on, with a leading slash); numbers with a point are Decimal.

        Asks again for up to `retry_seconds`, and waits as long as the provider asks, up to `max_wait_seconds`. Raises
        TransientError if that isn't enough, ConfigError if the provider refuses the key or the request, OversizedError
        for an answer that is too large, and DataError for one of another kind.
        """
        async with self.answer(path, query) as found:
            return found

    @asynccontextmanager
    async def answer(self, path: str, query: Sequence[tuple[str, str]]) -> AsyncIterator[dict[str, Any]]:
        """As `get`, for an `async with` block that ends once the object is done with.

        Large ones are unpacked one after the other, however many requests there are at once: as Python's objects they
        take several times the memory of their bytes. So within the block nothing else is asked for.
        """
        async with AsyncExitStack() as held:
            yield await self._asked(path, query, held)

    async def back_off(self, attempt: int) -> None:
        """Wait as before another attempt of a request, `attempt` of them done."""
        await self._clock.sleep(retries.backoff(attempt, self._clock.chance()))

    async def _asked(self, path: str, query: Sequence[tuple[str, str]], held: AsyncExitStack) -> dict[str, Any]:
        what = f"{self.name}: GET {path}"
        async with self._slots:
            patience = Patience(self._clock, self._settings)
            while True:
                await self._pass_gate(what, patience)
                patience.attempts += 1
                self._requests_made += 1
                answer = await self._exchange.get(path, query)
                if isinstance(answer, Answer) and len(answer.body) > self._small_bytes:
                    await held.enter_async_context(self._one_large)
                outcome = judged(what, answer, self._key_kind, self._settings.max_body_bytes, self._clock.now())
                if not isinstance(outcome, Trouble):
                    return outcome
                await held.aclose()
                await self._wait(what, outcome, patience)

    async def _pass_gate(self, what: str, patience: Patience) -> None:
        while left := self._gate.seconds_left:
            asked = self._gate.asked
            if not patience.lasts(left, asked=asked):
                raise TransientError(f"{what}: all requests are to wait {left:.0f} s more, since {self._gate.reason}")
            await patience.wait(left, asked=asked)

    async def _wait(self, what: str, trouble: Trouble, patience: Patience) -> None:
        # Never sooner than asked, nor than our own backoff: a provider that asks for 0 s each time isn't hammered.
        seconds = retries.backoff(patience.attempts, self._clock.chance())
        asked = trouble.asked is not None and trouble.asked.seconds > seconds
        if trouble.asked is not None:
            seconds = max(seconds, trouble.asked.seconds)
        if trouble.throttled:
            # Even where this request gives up: the others aren't to go on.
            self._gate.close(seconds, trouble.text, asked=asked)
        if not patience.lasts(seconds, asked=asked):
            raise TransientError(f"{what}: {trouble.text}; {patience}{_demand(trouble.asked)}")
        attempt = patience.attempts
        _log.info("the API is asked again", api=what, trouble=trouble.text, attempt=attempt, wait=round(seconds, 3))
        if not trouble.throttled:
            await patience.wait(seconds, asked=asked)


def _demand(asked: Wait | None) -> str:
    return "" if asked is None else f"; the provider asks to wait {asked.seconds:.1f} s ({asked.header})"
