"""`python -m pipeline_local.simulators --seed 7 --host 127.0.0.1 --port 9070`: the simulators as a process."""

import argparse
import ipaddress
import os
import sys
from contextlib import suppress

from pipeline_local.errors import LocalError
from pipeline_local.services.processes import LOOPBACK
from pipeline_local.simulators.app import application
from pipeline_local.simulators.protocol import Server
from pipeline_local.simulators.server import listener
from pipeline_local.simulators.simulation import Simulation

_USAGE = 64  # EX_USAGE of sysexits.h
POD_ADDRESS = "PIPELINES_DEV_HOST"
"""The variable that tells the embedded services where to listen; without it, the simulators stay on loopback."""


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_local.simulators", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what the data is made from")
    parser.add_argument("--host", default=LOOPBACK, help="the address to listen on")
    parser.add_argument("--port", type=int, default=9070, help="the port to listen on")
    chosen = parser.parse_args(arguments)
    try:
        refuse_strangers(chosen.host, os.environ.get(POD_ADDRESS))
        with suppress(KeyboardInterrupt), listener(chosen.host, chosen.port) as listening:
            Server(application(Simulation(chosen.seed))).run([listening])
    except LocalError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's error
        return _USAGE
    return 0


def refuse_strangers(host: str, told: str | None) -> None:
    """Raises LocalError for an address that others reach, unless it is the one that the services were told to use."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback and host != told:
        raise LocalError(
            f"--host: expected an address of the loopback interface, such as {LOOPBACK}, not {host}: whoever reaches "
            f"a simulator controls it. In a pod, name its address in {POD_ADDRESS} too"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
