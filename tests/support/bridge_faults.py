"""What befalls the bridge at a call of its parts, and a request that is asked whatever befalls it."""

from collections.abc import Callable

from pipeline_bridge.problems import Problem
from pipeline_bridge.wanted import IdempotencyKey
from pipeline_core.kube.api import KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from support.bridge_and_operator import Both, CrashError, Fault

REFUSED = KubeError(403, "Forbidden", "exceeded quota: runs")


def fails(part: str) -> Exception:
    """No answer: whether it was carried out isn't known."""
    return KubeUnavailableError("no answer") if part == "cluster" else StoreUnavailableError("no answer")


def is_refused(part: str) -> Exception:
    """No connection: it wasn't carried out."""
    return KubeNotReachedError("no connection") if part == "cluster" else StoreUnavailableError("no connection")


def dies(_part: str) -> BaseException:
    """The process is gone."""
    return CrashError()


def at(nth: int, befalls: Callable[[str], BaseException], *, after: bool) -> Fault:
    """That befalls the nth call, before it is carried out or after it."""
    asked = 0

    def fault(part: str, _method: str, is_after: bool) -> None:
        nonlocal asked
        asked += not is_after
        if asked == nth and is_after is after:
            raise befalls(part)

    return fault


def kubernetes(both: Both, error: Exception) -> None:
    """The API server answers every call with this error."""

    def fault(part: str, _method: str, _after: bool) -> None:
        if part == "cluster":
            raise error

    both.fault = fault


async def ask(both: Both, key: IdempotencyKey | None = None) -> str | None:
    """A request's answer; None where there was none, or that it should be sent again."""
    try:
        return await both.post(key)
    except (CrashError, StoreUnavailableError, KubeUnavailableError):
        return None
    except Problem as problem:
        if problem.status != 503:
            raise
        return None
