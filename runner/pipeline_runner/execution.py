"""Executes one run document with its processor, and turns whatever happens into an outcome and an exit code."""

import asyncio
from collections.abc import Callable

import structlog

from pipeline_core import identifiers
from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.redaction import without_credentials
from pipeline_core.run_document import RunDocument
from pipeline_runner.credentials import Credentials
from pipeline_runner.errors import ConfigError, ProcessorError
from pipeline_runner.loading import load_processor
from pipeline_runner.masking import masked
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.progress import Progress
from pipeline_runner.settings import CredentialSettings

_log = structlog.get_logger(__name__)

# How long a cancelled processor may take to stop and tidy up; Kubernetes kills the container after its grace period.
STOP_SECONDS = 8.0
# How long any processor may take to tidy up.
CLOSE_SECONDS = 15.0

Loader = Callable[[dict[str, object]], type[BaseProcessor]]


async def execute(
    document: RunDocument,
    progress: Progress,
    *,
    load: Loader = load_processor,
    credentials: CredentialSettings | None = None,
) -> tuple[Outcome, ExitCode]:
    """Run to the end. Cancelling this task stops the processor, and still returns an outcome: `terminated`.

    Or `succeeded`, where it had published by then. Never raises but for a defect of its own.
    """
    name = str((document.config.get("processor") or {}).get("class", "processor"))
    try:
        _check_target(document)
        processor = load(document.config)(document.config, document.org_slug, document.run_id)
    # Even the constructor, and the module's own code, are the processor's: sys.exit() in them must not end us mutely.
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        return _failure(name, error)
    processor.progress = progress
    processor.credentials = Credentials(
        document.org_slug, document.provider, settings=credentials, secret_name=document.credential_secret
    )
    published: list[int] = []
    work = asyncio.ensure_future(_shielded_from_exit(processor, document, published))
    stopped = False
    try:
        await asyncio.wait({work})
    except asyncio.CancelledError:
        stopped = True
        work.cancel()
        await asyncio.wait({work}, timeout=STOP_SECONDS)
    stages = dict(processor.stages)
    if stopped and published:
        # What it tidies up expires by itself; what the target shows is settled.
        _log.info("run succeeded; it was stopped while it tidied up", records=published[0])
        return Outcome(status="succeeded", records_processed=published[0], stages=stages), ExitCode.OK
    if work.cancelled() and not stopped:
        # Nobody told it to stop: it cancelled itself, or let another task's cancellation through.
        outcome, code = _failure(name, asyncio.CancelledError("cancelled from within, not by a stop"))
        return outcome.model_copy(update={"stages": stages}), code
    if work.done() and not work.cancelled():
        outcome, code = work.result()
        # Whatever a stopped run ends with is due to the stop.
        if not stopped:
            return outcome.model_copy(update={"stages": stages}), code
    return terminated(name, stages)


def terminated(name: str, stages: dict[str, float] | None = None) -> tuple[Outcome, ExitCode]:
    """The outcome of a run that was told to stop."""
    outcome = Outcome(status="terminated", error=f"{name}: stopped before it was done", stages=stages or {})
    return outcome, ExitCode.TERMINATED


async def _shielded_from_exit(
    processor: BaseProcessor, document: RunDocument, published: list[int]
) -> tuple[Outcome, ExitCode]:
    """The attempt's own end; the records go into `published` as soon as they stand in the target."""
    name = type(processor).__name__
    try:
        try:
            if processor.credentials is not None:
                await processor.credentials.prepare()
            result = await processor.execute(dict(document.parameters))
            records = _records(result)
            # Only now: what the target shows is settled, whatever becomes of this process.
            published.append(records)
            processor.progress.published(records)
        finally:
            await _close(processor)
        _log.info("run succeeded", records=records, details=dict(result.details))
        return Outcome(status="succeeded", records_processed=records), ExitCode.OK
    except (Exception, SystemExit) as error:
        return _failure(name, error)


def _records(result: object) -> int:
    """What `execute` returned, checked: processors are written by many, and their annotations bind nobody."""
    if not isinstance(result, ProcessorResult):
        raise TypeError(f"execute() returned {type(result).__name__}, expected ProcessorResult")
    records: object = result.records_processed
    if not isinstance(records, int) or isinstance(records, bool) or records < 0:
        raise TypeError(f"records_processed is {records!r:.100}, expected a whole number that isn't negative")
    return records


async def _close(processor: BaseProcessor) -> None:
    # What is left behind expires by itself, so a failure here must not hide how the run ended.
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await processor.close()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # the run is told to stop
        _log.warning("the processor cancelled itself while tidying up", exc_info=True)
    except Exception:
        _log.warning("the processor couldn't tidy up", exc_info=True)


def _check_target(document: RunDocument) -> None:
    # A config that writes into another organization's dataset is refused when it is loaded, and here once more.
    target = document.config.get("target")
    dataset = target.get("dataset") if isinstance(target, dict) else None
    expected = identifiers.dataset_name(document.org_slug, document.env)
    if dataset != expected:
        raise ConfigError(f"target.dataset: expected {expected}, got {dataset!r:.200}")


def _failure(name: str, error: BaseException) -> tuple[Outcome, ExitCode]:
    """The outcome of an error: `{processor}: {details}`. Only of a defect is more logged than the outcome tells."""
    if isinstance(error, ProcessorError):
        code, details = error.exit_code, str(error)
    elif isinstance(error, MemoryError):
        code, details = ExitCode.INTERNAL, "out of memory"
    elif isinstance(error, SystemExit):
        code, details = ExitCode.INTERNAL, f"exited with {error.code!r} without an outcome"
    else:
        code = ExitCode.INTERNAL
        details = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _log.error("the processor raised what it shouldn't", exc_info=error)
    return Outcome(status="failed", error=without_credentials(masked(f"{name}: {details}"))), code
