"""Asks a provider's JSON API: a few requests at once, each again where that helps and not sooner than allowed."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2
import structlog
from pydantic import SecretStr

from pipeline_runner.api import retries
from pipeline_runner.api.answers import error_text, read_object, said
from pipeline_runner.api.clock import Clock
from pipeline_runner.api.exchange import Answer, Exchange
from pipeline_runner.api.gate import Gate
from pipeline_runner.api.retries import Verdict, Wait
from pipeline_runner.errors import ConfigError, DataError, TransientError
from pipeline_runner.settings import ApiSettings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RateLimits:
    """What a provider puts up with: `at_once` requests on their way at the same time."""

    at_once: int = 4


@dataclass(frozen=True)
class _Trouble:
    """Why an attempt failed, where another may not."""

    text: str
    throttled: bool = False
    asked: Wait | None = None


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

        Asks again for up to `retry_seconds`, waiting as long as the provider asks. Raises TransientError if that isn't
        enough, ConfigError if the provider refuses the key or the request, DataError for an answer of another kind.
        """
        what = f"{self.name}: GET {path}"
        async with self._slots:
            began, attempt = self._clock.monotonic(), 0
            while True:
                await self._pass_gate(what, began)
                attempt += 1
                self._requests_made += 1
                outcome = self._judged(what, await self._exchange.get(path, query))
                if not isinstance(outcome, _Trouble):
                    return outcome
                await self._wait(what, outcome, attempt, began)

    async def back_off(self, attempt: int) -> None:
        """Wait as before another attempt of a request, `attempt` of them done."""
        await self._clock.sleep(retries.backoff(attempt, self._clock.chance()))

    async def _pass_gate(self, what: str, began: float) -> None:
        while left := self._gate.seconds_left:
            if self._too_long(left, began):
                raise TransientError(f"{what}: all requests are to wait {left:.0f} s more, since {self._gate.reason}")
            await self._clock.sleep(left)

    async def _wait(self, what: str, trouble: _Trouble, attempt: int, began: float) -> None:
        # Never sooner than asked, nor than our own backoff: a provider that asks for 0 s each time isn't hammered.
        asked = trouble.asked.seconds if trouble.asked else 0.0
        seconds = max(asked, retries.backoff(attempt, self._clock.chance()))
        if trouble.throttled:
            # Even where this request gives up: the others aren't to go on.
            self._gate.close(seconds, trouble.text)
        if self._too_long(seconds, began):
            raise TransientError(f"{what}: {trouble.text}; {self._why(trouble, attempt, began)}")
        _log.info("the API is asked again", api=what, trouble=trouble.text, attempt=attempt, wait=round(seconds, 3))
        if not trouble.throttled:
            await self._clock.sleep(seconds)

    def _too_long(self, seconds: float, began: float) -> bool:
        elapsed = self._clock.monotonic() - began
        return seconds > self._settings.max_wait_seconds or elapsed + seconds > self._settings.retry_seconds

    def _why(self, trouble: _Trouble, attempt: int, began: float) -> str:
        one, total = self._settings.max_wait_seconds, self._settings.retry_seconds
        tried = f"tried {attempt} time{'s' * (attempt > 1)} in {self._clock.monotonic() - began:.0f} s"
        if trouble.asked is None:
            return f"{tried}, of at most {total:.0f} s"
        asked, header = trouble.asked.seconds, trouble.asked.header
        limits = f"of at most {one:.0f} s at a time and {total:.0f} s in all"
        return f"{tried}; the provider asks to wait {asked:.1f} s ({header}), {limits}"

    def _judged(self, what: str, answer: Answer | str) -> dict[str, Any] | _Trouble:
        """What the attempt brought: an object or a trouble. Raises where another attempt would bring the same."""
        if isinstance(answer, str):
            return _Trouble(answer)
        verdict = retries.verdict(answer.status)
        if verdict is Verdict.DONE:
            return self._object(what, answer)
        if verdict is Verdict.MOVED:
            where = said(answer.headers.get("location", "nowhere"))
            raise ConfigError(
                f"source.base_url: {what} answered {answer.status}, a redirect to {where!r}; expected the address of "
                "the API itself: redirects aren't followed, since the key would travel with them"
            )
        reason = f"{answer.status}: {error_text(answer.headers, answer.body)}"
        if verdict is Verdict.DENIED:
            expected = f"; expected {self._key_kind}" if self._key_kind else ""
            raise ConfigError(f"{what}: the key is refused: {reason}{expected}")
        if verdict is Verdict.REFUSED:
            raise ConfigError(f"{what}: the request is refused: {reason}")
        throttled = verdict is Verdict.THROTTLED
        return _Trouble(reason, throttled, retries.asked_wait(answer.headers, self._clock.now(), throttled=throttled))

    def _object(self, what: str, answer: Answer) -> dict[str, Any] | _Trouble:
        if answer.oversized:
            raise DataError(f"{what}: the answer is larger than {self._settings.max_body_bytes} bytes")
        try:
            found = read_object(answer.body)
        except TypeError as error:
            raise DataError(f"{what}: {error}") from None
        if found is not None:
            return found
        # Cut off on the way, or a page of somebody in between.
        begins = said(answer.body[:4_000].decode("utf-8", "replace"))
        return _Trouble(f"{answer.status}, but its {len(answer.body)} bytes aren't JSON; they begin {begins:.100}")
