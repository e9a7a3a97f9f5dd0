"""Sets everything up on this machine: the cluster, the images, the chart. The quick start and the tests begin here."""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from pipeline_local import backends, images
from pipeline_local.backends import Backend
from pipeline_local.install import install
from pipeline_local.paths import Paths
from pipeline_local.progress import Reporter
from pipeline_local.state import State

T = TypeVar("T")
U = TypeVar("U")


def set_up(paths: Paths, state: State, reporter: Reporter) -> Backend:
    """Bring the cluster up while the images are built, then install the chart. Repeating it is harmless.

    Uses the cluster that is in use, else the one that fits the machine. Raises LocalError with what a person can do.
    """
    backend, built = _at_once(
        lambda: _cluster_up(paths, state, reporter),
        lambda: images.build_all(reporter, paths),
    )
    install(backend, built, paths, state, reporter)
    return backend


def _cluster_up(paths: Paths, state: State, reporter: Reporter) -> Backend:
    with state.exclusive():
        choice = backends.settle(state, "auto", None, None)
        state.set_backend(choice)
        backend = backends.open_backend(choice, paths, state)
        backend.up(reporter)
    return backend


def _at_once(first: Callable[[], T], second: Callable[[], U]) -> tuple[T, U]:
    """The results of both; as soon as one fails, its exception."""
    pool = ThreadPoolExecutor(2)
    try:
        one, other = pool.submit(first), pool.submit(second)
        running: tuple[Future[Any], ...] = (one, other)
        wait(running, return_when=FIRST_EXCEPTION)
        for future in running:
            if future.done():
                future.result()  # raises what it failed with
        return one.result(), other.result()
    finally:
        # not waiting: what still runs ends by itself, and what it made is kept for the next time
        pool.shutdown(wait=False, cancel_futures=True)
