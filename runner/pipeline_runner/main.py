"""The container's process: one run document in, one outcome in the termination message out."""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NoReturn

import structlog
from pydantic import ValidationError

from pipeline_core.logging import configure_logging
from pipeline_core.outcome import TERMINATION_MESSAGE_PATH, ExitCode, Outcome
from pipeline_core.run_document import RunDocument
from pipeline_runner.execution import execute, terminated
from pipeline_runner.loading import load_processor
from pipeline_runner.masking import masked
from pipeline_runner.output import flush_output, mask_output
from pipeline_runner.processors.base import BaseProcessor
from pipeline_runner.progress import HttpProgress, Progress
from pipeline_runner.settings import PodSettings, RunnerSettings

_log = structlog.get_logger(__name__)

# A processor that doesn't give way to the stop within this time (it blocks the event loop) is left behind.
_LAST_RESORT_SECONDS = 9.5


def main() -> ExitCode:
    """Run once; the exit code is the outcome's, whether or not the outcome could be written."""
    try:
        settings = RunnerSettings()
        configure_logging(settings.log_level, "runner", mask=masked)
        mask_output()
    except ValueError as error:
        configure_logging("info", "runner")
        _log.exception("the settings are wrong")
        path = os.environ.get("PIPELINES_TERMINATION_LOG") or TERMINATION_MESSAGE_PATH
        return _end(Path(path), Outcome(status="failed", error=f"runner: {_readable(error)}"), ExitCode.CONFIG)
    try:
        document = RunDocument.model_validate_json(settings.run_document.read_bytes())
    except (OSError, ValueError) as error:
        details = f"runner: the run document {settings.run_document} can't be used: {_readable(error)}"
        _log.error("run failed", error=details)
        return _end(settings.termination_log, Outcome(status="failed", error=details), ExitCode.CONFIG)
    structlog.contextvars.bind_contextvars(run_id=document.run_id, org=document.org_slug, **_request(settings))
    progress = _progress(settings, document)
    outcome, code = asyncio.run(_until_stopped(document, progress, settings))
    if outcome.status == "failed":
        _log.error("run failed", error=outcome.error, exit_code=int(code))
    _end(settings.termination_log, outcome, code)
    progress.flush()
    return code


async def _until_stopped(
    document: RunDocument, progress: Progress, settings: RunnerSettings
) -> tuple[Outcome, ExitCode]:
    loop = asyncio.get_running_loop()
    load = partial(_load, settings.processor_packages)
    task = asyncio.ensure_future(execute(document, progress, load=load))

    def stop(_signal: int, _frame: object) -> None:
        # A plain handler, since the loop's own waits for a loop that a processor may be blocking.
        if not stopping.is_set():
            stopping.set()
            loop.call_soon_threadsafe(task.cancel)
            watchdog.start()

    def give_up() -> None:
        name = str(document.config.get("processor", {}).get("class", "processor"))
        code = _end(settings.termination_log, *terminated(name))
        flush_output()
        os._exit(code)

    stopping = threading.Event()
    watchdog = threading.Timer(_LAST_RESORT_SECONDS, give_up)
    watchdog.daemon = True
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _log.info("run started", provider=document.provider, domain=document.domain, pipeline=document.pipeline)
    try:
        return await task
    finally:
        watchdog.cancel()


def _load(packages: Collection[str], config: dict[str, object]) -> type[BaseProcessor]:
    processor = load_processor(config, packages)
    if not gc.isenabled():
        # All that was imported stays to the end: no collection looks at it again.
        gc.freeze()
        gc.enable()
    return processor


def _progress(settings: RunnerSettings, document: RunDocument) -> Progress:
    if settings.progress_url is None or settings.progress_token is None:
        return Progress()
    token = settings.progress_token.get_secret_value()
    return HttpProgress(settings.progress_url, token, run_id=document.run_id, pod_uid=PodSettings().uid)


def _request(settings: RunnerSettings) -> dict[str, str]:
    """What names the request that asked for the run, in the logs of all it passed."""
    known = {"request_id": settings.request_id, "traceparent": settings.traceparent}
    return {name: value for name, value in known.items() if value is not None}


def _end(path: Path, outcome: Outcome, code: ExitCode) -> ExitCode:
    try:
        path.write_text(outcome.to_message(), encoding="utf-8")
    except Exception as error:
        # Whatever went wrong here, the exit code still says how the run ended.
        _log.error("the outcome can't be written", path=str(path), error=str(error), outcome=repr(outcome))
    return code


def _readable(error: Exception) -> str:
    """The fields that are wrong, without their values: a document isn't echoed whole."""
    if isinstance(error, ValidationError):
        problems = [f"{'.'.join(map(str, each['loc'])) or 'document'}: {each['msg']}" for each in error.errors()]
        return "; ".join(problems)
    return str(error)


def run_and_exit() -> NoReturn:
    """Run once and end the process at once, with its exit code.

    Not by sys.exit: threads that were left behind in the network, gRPC's among them, could hold up the interpreter's
    own end, or crash in it.
    """
    code = main()
    logging.shutdown()
    flush_output()
    os._exit(code)
