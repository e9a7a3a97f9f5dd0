"""The operator's process: reads its settings, runs the parts until it is told to stop, and ends with a code."""

import asyncio
import signal

import structlog
import uvloop
from pydantic import ValidationError

from pipeline_core import process_metrics
from pipeline_core.errors import PipelinesError
from pipeline_core.kube.api import KubeApi
from pipeline_core.logging import configure_logging
from pipeline_core.process import collect_seldom, end_within, print_problems
from pipeline_core.settings import DatabaseSettings
from pipeline_core.store.engine import create_engine
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_core.store.schedules import ScheduleRecords
from pipeline_operator.lease import LeaseLostError
from pipeline_operator.parts import ENDS, Operator
from pipeline_operator.settings import OperatorSettings
from pipeline_operator.store_metrics import measured

_log = structlog.get_logger(__name__)

# The watches may take eight seconds to stop. Until this process has ended, the kubelet starts no other.
_STOP_SECONDS = 12.0


async def operate(settings: OperatorSettings, database: DatabaseSettings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    api = await KubeApi.from_environment()
    engine = create_engine(database.database_url.get_secret_value())
    try:
        operator = Operator(
            settings,
            api,
            measured(RunRecords(engine)),
            measured(QuotaLedger(engine)),
            measured(AdmissionFacts(engine)),
            measured(ScheduleRecords(engine)),
            on_end=lambda: end_within(_STOP_SECONDS, 1),
        )
        task = asyncio.create_task(operator.run())
        loop = asyncio.get_running_loop()

        def stop() -> None:
            end_within(_STOP_SECONDS, 0)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await task
    finally:
        await engine.dispose()
        await api.close()


def main() -> int:
    """Run the operator; returns the exit code: 0 when told to stop, 1 to be started anew, 2 for bad settings."""
    try:
        settings, database = OperatorSettings(), DatabaseSettings()
    except ValidationError as error:
        print_problems(error)
        return 2
    configure_logging(settings.log_level, "operator")
    process_metrics.register("operator")
    collect_seldom()
    try:
        uvloop.run(operate(settings, database))
    except asyncio.CancelledError:
        _log.info("stopped")
    except PipelinesError as error:
        _log.error("can't start", error=str(error))
        return 2
    except BaseExceptionGroup as errors:
        _, others = errors.split(ENDS)
        if others is not None:
            raise others from None
        first = errors.exceptions[0]
        event = "leadership lost" if isinstance(first, LeaseLostError) else "ends, to watch anew"
        _log.error(event, error=str(first))
        return 1
    return 0
