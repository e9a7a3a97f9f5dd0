"""The runner as a process of its own: started with a run's document, and killed where a fault proxy holds it."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from pipeline_core.run_document import RunDocument
from support.fault_proxy import Fault


def variables(document: RunDocument, folder: Path) -> dict[str, str]:
    """What tells a runner its document, `run.json` in a folder, and where its outcome goes: `log` there."""
    file = folder / "run.json"
    file.write_text(document.model_dump_json())
    return {"PIPELINES_RUN_DOCUMENT": str(file), "PIPELINES_TERMINATION_LOG": str(folder / "log")}


async def start(document: RunDocument, folder: Path, *, stderr: int = DEVNULL) -> Process:
    """A runner with this process's environment."""
    environment = {**os.environ, **variables(document, folder)}
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "pipeline_runner", env=environment, stderr=stderr)


async def kill_at(fault: Fault, document: RunDocument, folder: Path) -> bool:
    """Run the document, and kill its runner at the request that `fault` holds: that one is never sent.

    Returns whether the runner made the request, before its end and within a minute.
    """
    process = await start(document, folder)
    waited = asyncio.ensure_future(asyncio.to_thread(fault.reached.wait, 60))
    ended = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({waited, ended}, return_when=asyncio.FIRST_COMPLETED)
        reached = fault.reached.is_set()
    finally:
        if process.returncode is None:
            process.kill()
        await ended
    fault.swallow = True
    fault.reached.set()
    fault.released.set()
    await waited
    return reached
