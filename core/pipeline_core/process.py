"""What the long-running processes have in common: their clock, how wrong settings are told, how they come to an end."""

import gc
import os
import threading
from datetime import UTC, datetime

from pydantic import ValidationError

# New objects from one garbage collection to the next: parsed JSON is many, and none of it is garbage in cycles.
_COLLECT_AFTER = 5_000


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def print_problems(error: ValidationError) -> None:
    """Say on standard output which settings are wrong, without their values: there is no log yet."""
    for problem in error.errors():
        print(f"setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}")  # noqa: T201


def collect_seldom() -> None:
    """Leave what is there by now out of garbage collections, and look for cycles less often: there are few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def end_within(seconds: float, code: int) -> None:
    """End the process in that time with this exit code, whatever holds it up: a call, or a thread that doesn't stop."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
