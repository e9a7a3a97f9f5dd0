"""Starts the simulators: within this process for tests, or as a process of their own."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

from pipeline_local.errors import LocalError
from pipeline_local.services.processes import LOOPBACK
from pipeline_local.simulators.app import application
from pipeline_local.simulators.plan import Plan
from pipeline_local.simulators.protocol import Server
from pipeline_local.simulators.simulation import Seen, Simulation
from pipeline_local.simulators.truth import Truth, truth
from pipeline_local.simulators.world import Provider, wall_clock

OPENAI_KEY = "sk-admin-simulated-0001"
ANTHROPIC_KEY = "sk-ant-admin01-simulated-0001"
"""Keys of this shape are all good; each has an organization of its own."""
_READY_SECONDS = 10.0


class Simulators:
    """Running simulators: their addresses, their plan and log, and the truth about what they tell."""

    def __init__(self, simulation: Simulation, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self.openai_url = f"{self.url}/openai"
        self.anthropic_url = f"{self.url}/anthropic"
        self._simulation = simulation

    def plan(self, **fields: Any) -> None:
        """Replace the plan: the fields of `Plan`; without any, plain good service. Raises ValidationError."""
        self._simulation.follow(Plan(**fields))

    def reset(self) -> None:
        """Plain good service and an empty log."""
        self._simulation.reset()

    @property
    def requests(self) -> list[Seen]:
        """The last 10,000 requests, in the order in which they came."""
        return self._simulation.requests

    def count(self, provider: Provider) -> int:
        """The number of requests of this provider since the start or `reset`."""
        return int(self._simulation.told()[provider]["count"])

    def max_concurrency(self, provider: Provider) -> int:
        """How many requests of this provider were under way at most at once."""
        return int(self._simulation.told()[provider]["max_concurrency"])

    def truth(
        self,
        provider: Provider,
        first_day: date,
        last_day: date,
        *,
        key: str | None = None,
        bucket_width: str = "1d",
        group_by: Iterable[str] | None = None,
    ) -> Truth:
        """See `pipeline_local.simulators.truth`; `key` is OPENAI_KEY or ANTHROPIC_KEY unless named."""
        key = key or {"openai": OPENAI_KEY, "anthropic": ANTHROPIC_KEY}[provider]
        world = self._simulation.world
        return truth(world, provider, key, first_day, last_day, bucket_width=bucket_width, group_by=group_by)


@contextmanager
def start_simulators(
    *, seed: int = 0, port: int = 0, now: Callable[[], datetime] = wall_clock, **plan: Any
) -> Iterator[Simulators]:
    """Simulators in a thread of this process, on a free port of the loopback interface unless one is named.

    `now` is the time that they live in; `plan` has the fields of `Plan`. Raises LocalError where the port is taken.
    """
    simulation = Simulation(seed, Plan(**plan), now)
    with listener(LOOPBACK, port) as listening:
        server = Server(application(simulation))
        thread = threading.Thread(target=server.run, args=([listening],), name="simulators", daemon=True)
        thread.start()
        try:
            if not server.ready.wait(_READY_SECONDS):
                raise LocalError(f"the simulators weren't ready within {_READY_SECONDS:g} s")
            yield Simulators(simulation, listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on this address. Raises LocalError where it can't."""
    try:
        listening = socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise LocalError(f"the simulators can't listen on {host}:{port}: {error.strerror}") from error
    # Connections inherit it. asyncio sets it only where a socket was made with TCP's number, which this one isn't, and
    # without it an answer's body waits 40 ms for the client to acknowledge the headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
