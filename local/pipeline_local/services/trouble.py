"""Runs the proxy that makes BigQuery's trouble as a process before the stand-in.

`python -m pipeline_local.services.trouble --seed 3 --host 127.0.0.1 --port 9050 --upstream http://127.0.0.1:9051`
"""

import argparse
import signal
import subprocess
import sys

from pipeline_local.services.processes import LOOPBACK
from pipeline_local.simulators.bigquery_trouble import trouble_before

NAME = "BigQuery's trouble"
STOP_SIGNAL = signal.SIGTERM
_USAGE = 64  # EX_USAGE of sysexits.h


def launch(host: str, port: int, upstream: str, seed: int) -> subprocess.Popen[bytes]:
    """Start it at the address that the stand-in would have; its log goes where ours goes."""
    options = [f"--seed={seed}", f"--host={host}", f"--port={port}", f"--upstream={upstream}"]
    command = [sys.executable, "-m", "pipeline_local.services.trouble", *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_local.services.trouble")
    parser.add_argument("--seed", type=int, required=True, help="what the trouble is made from")
    parser.add_argument("--host", default=LOOPBACK, help="the address to listen on")
    parser.add_argument("--port", type=int, required=True, help="the port to listen on")
    parser.add_argument("--upstream", required=True, help="the address of the stand-in, such as http://127.0.0.1:9051")
    chosen = parser.parse_args(arguments)
    ends = (signal.SIGTERM, signal.SIGINT)
    # before the proxy's threads begin, which have the same signals blocked
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        with trouble_before(chosen.upstream, seed=chosen.seed, host=chosen.host, port=chosen.port):
            signal.sigwait(ends)
    except OSError as error:
        print(f"{NAME} can't listen on {chosen.host}:{chosen.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return _USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
