"""Supervises the services as one process: ends them in order when told to, and ends itself when one of them dies.

A service that dies takes the other along and gives a status other than zero: whoever runs the container starts it
again, which is simpler and safer than a second supervisor here.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue

from pydantic import ValidationError

from pipeline_local.errors import LocalError
from pipeline_local.services import bigquery, postgres, postgres_cluster, simulators, trouble
from pipeline_local.services.processes import end, free_port, reached_at, server_identity
from pipeline_local.services.settings import ServicesSettings

_TERMINATION = (signal.SIGTERM, signal.SIGINT)
_INVALID = 78  # EX_CONFIG of sysexits.h: starting again won't help
_USAGE = 64


def main(arguments: list[str]) -> int:
    """Without arguments, run the services until told to end; with `ready`, say by the status whether all are ready."""
    try:
        settings = ServicesSettings()
    except ValidationError as error:
        _log("the settings are wrong", problems=_problems(error))
        return _INVALID
    match arguments:
        case []:
            return serve(settings)
        case ["ready"]:
            return 0 if is_ready(settings) else 1
    _log("the arguments are wrong: expected none, or ready")
    return _USAGE


def serve(settings: ServicesSettings) -> int:
    """Run all until SIGTERM or SIGINT (0), or until one dies (1)."""
    # a SimpleQueue may be filled by a signal handler at any moment; an Event may not
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (*_TERMINATION, signal.SIGCHLD):
        signal.signal(number, lambda received, _: signals.put(received))
    with tempfile.TemporaryDirectory(prefix="pipelines-services-") as work:
        try:
            services = _start(settings, Path(work))
        except LocalError as error:
            _log("a service can't be started", error=str(error))
            return 1
        try:
            return _watch(services, signals)
        finally:
            _stop(services)


def is_ready(settings: ServicesSettings) -> bool:
    """Whether PostgreSQL accepts connections, and the stand-in and the simulators answer."""
    return (
        postgres_cluster.is_ready(settings.data / postgres_cluster.FOLDER)
        and simulators.is_ready(settings.host, settings.simulators_port)
        and bigquery.is_ready(settings.host, settings.bigquery_port)
    )


def _start(settings: ServicesSettings, work: Path) -> dict[str, subprocess.Popen[bytes]]:
    behind = None if settings.bigquery_trouble_seed is None else free_port(settings.host)
    # The stand-in takes the longer to come up: it starts while the database is prepared.
    services = {bigquery.NAME: bigquery.launch(_bigquery_command(settings, behind), work=work)}
    try:
        if behind is not None and settings.bigquery_trouble_seed is not None:
            upstream = f"http://{reached_at(settings.host)}:{behind}"
            services[trouble.NAME] = trouble.launch(
                settings.host, settings.bigquery_port, upstream, settings.bigquery_trouble_seed
            )
        services[simulators.NAME] = simulators.launch(settings.host, settings.simulators_port, settings.simulators_seed)
        identity = server_identity()
        work.chmod(0o755)
        binaries = postgres_cluster.usable_binaries(identity, work)
        password = settings.postgres_password.get_secret_value()
        cluster = postgres_cluster.prepare(settings.data, password, binaries=binaries, identity=identity)
        database = postgres.server_command(binaries, cluster, settings.host, settings.postgres_port)
        services[postgres.NAME] = postgres.launch(database, identity)
    except BaseException:
        _stop(services)
        raise
    return services


def _bigquery_command(settings: ServicesSettings, behind: int | None) -> list[str]:
    """The stand-in's command: on its port, or on this one behind the proxy that makes trouble. gRPC meets none."""
    return bigquery.server_command(
        settings.data,
        settings.bigquery_project,
        settings.host,
        behind or settings.bigquery_port,
        settings.bigquery_grpc_port,
    )


def _watch(services: Mapping[str, subprocess.Popen[bytes]], signals: SimpleQueue[int]) -> int:
    _log("started", services=sorted(services))
    while True:
        # first, since one may have died before its signal could be received
        for name, process in services.items():
            if process.poll() is not None:
                _log("a service died, so all end", service=name, status=process.returncode)
                return 1
        if (received := signals.get()) in _TERMINATION:
            _log("ending", signal=signal.Signals(received).name)
            return 0


def _stop(services: Mapping[str, subprocess.Popen[bytes]]) -> None:
    ways = {service.NAME: service.STOP_SIGNAL for service in (postgres, trouble, bigquery, simulators)}
    for name, process in services.items():
        end(process, ways[name], seconds=9)  # all, within the 30 s that Kubernetes gives


def _problems(error: ValidationError) -> list[str]:
    # without the values: one of them is a password
    prefix = ServicesSettings.model_config["env_prefix"]
    return [f"{prefix}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors(include_input=False)]


def _log(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), file=sys.stderr, flush=True)  # noqa: T201 - the container's log
