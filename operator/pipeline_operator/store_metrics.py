"""Takes note of every call to PostgreSQL: how long it took and how it ended."""

import inspect
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from pipeline_core.errors import PipelinesError
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator import metrics

T = TypeVar("T")

_OUTCOMES = ("ok", "unavailable", "refused", "failed")


def measured(store: T) -> T:
    """`store`, each of its coroutine methods timed under its own name; it is changed in place."""
    for name, method in inspect.getmembers(store, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            call = f"{type(store).__name__}.{name}"
            for outcome in _OUTCOMES:
                metrics.STORE_CALLS.labels(call, outcome)  # see pipeline_operator.metrics
            setattr(store, name, _timed(call, method))
    return store


def _timed(call: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def timed(*args: Any, **options: Any) -> Any:
        outcome, began = "failed", time.perf_counter()
        try:
            result = await method(*args, **options)
            outcome = "ok"
        except StoreUnavailableError:
            outcome = "unavailable"
            raise
        except PipelinesError:
            outcome = "refused"
            raise
        finally:
            metrics.STORE_CALLS.labels(call, outcome).inc()
            metrics.STORE_CALL_SECONDS.labels(call).observe(time.perf_counter() - began)
        return result

    return timed
