"""What one attempt at a request brought: an object, a trouble that may pass, or the end for good."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_runner.api import retries
from pipeline_runner.api.answers import error_kinds, error_text, read_object, said
from pipeline_runner.api.exchange import Answer
from pipeline_runner.api.retries import Verdict, Wait
from pipeline_runner.errors import ConfigError, DataError


class OversizedError(DataError):
    """An answer of more than `max_body_bytes`: the same request brings it again, one for less may not."""


@dataclass(frozen=True)
class Trouble:
    """Why an attempt failed, where another may not."""

    text: str
    throttled: bool = False
    asked: Wait | None = None


def judged(
    what: str, answer: Answer | str, key_kind: str, max_body_bytes: int, now: datetime
) -> dict[str, Any] | Trouble:
    """The object of an answer, or its trouble; a text instead of an answer says why there is none.

    Raises where another attempt would bring the same: ConfigError if the provider refuses the key or the request,
    OversizedError, and DataError for JSON of another kind. `what` and `key_kind` stand in the messages.
    """
    if isinstance(answer, str):
        return Trouble(answer)
    verdict = _verdict(answer)
    if verdict is Verdict.DONE:
        return _object(what, answer, max_body_bytes)
    if verdict is Verdict.MOVED:
        where = said(answer.headers.get("location", "nowhere"))
        raise ConfigError(
            f"source.base_url: {what} answered {answer.status}, a redirect to {where!r}; expected the address of "
            "the API itself: redirects aren't followed, since the key would travel with them"
        )
    reason = f"{answer.status}: {error_text(answer.headers, answer.body)}"
    if verdict is Verdict.DENIED:
        expected = f"; expected {key_kind}" if key_kind else ""
        raise ConfigError(f"{what}: the key is refused: {reason}{expected}")
    if verdict is Verdict.REFUSED:
        raise ConfigError(f"{what}: the request is refused: {reason}")
    throttled = verdict is Verdict.THROTTLED
    return Trouble(reason, throttled, retries.asked_wait(answer.headers, now, throttled=throttled))


def _verdict(answer: Answer) -> Verdict:
    # What was said is no variable of the caller's: a provider may repeat the key, and tracebacks show variables.
    kinds = error_kinds(answer.body) if answer.status >= 400 else ()
    return retries.verdict(answer.status, answer.headers, kinds)


def _object(what: str, answer: Answer, max_body_bytes: int) -> dict[str, Any] | Trouble:
    if answer.oversized:
        raise OversizedError(f"{what}: the answer is larger than {max_body_bytes} bytes")
    try:
        found = read_object(answer.body)
    except TypeError as error:
        raise DataError(f"{what}: {error}") from None
    if found is not None:
        return found
    # Cut off on the way, or a page of somebody in between.
    begins = said(answer.body[:4_000].decode("utf-8", "replace"))
    return Trouble(f"{answer.status}, but its {len(answer.body)} bytes aren't JSON; they begin {begins:.100}")
