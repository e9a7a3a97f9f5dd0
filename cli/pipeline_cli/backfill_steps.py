"""The steps of `pipelines backfill`: what it reads of a schedule, and what it writes into it."""

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from pipeline_cli import backfill_text
from pipeline_cli.cluster import connected, get_schedule, patch_schedule
from pipeline_cli.failing import refused
from pipeline_core.kube.gitops import managed_by
from pipeline_core.outcome import ExitCode
from pipeline_core.process import now
from pipeline_core.schedules.asking import COMPLETED, INVALID, beginning, last_backfill
from pipeline_core.schedules.backfill import BackfillPlan, plan_backfill
from pipeline_core.schedules.observed import BackfillSpec
from pipeline_core.schedules.timetable import Timetable

if TYPE_CHECKING:
    from pipeline_core.kube.api import Api, Json
    from pipeline_core.store.quota.standing import Standing

# Between two looks at how far it is.
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Target:
    """Which schedule, and how far its owner goes."""

    namespace: str
    name: str
    yes: bool
    force: bool


async def begin(target: Target, asked: BackfillSpec, *, dry_run: bool, keeps_concurrency: bool) -> None:
    """Say what the backfill will be, ask, and write it into the schedule."""
    async with connected() as api:
        schedule = await get_schedule(api, target.namespace, target.name)
        plan = _plan(schedule, asked)
        for line in backfill_text.plan_lines(schedule, asked, plan, await _standing(schedule["spec"]["org"])):
            typer.echo(line)
        fields = beginning(asked, schedule, keeps_concurrency=keeps_concurrency)
        if fields is None:
            typer.echo("It is there already; nothing was changed.")
            return
        if dry_run:
            typer.echo("Nothing was changed.")
            return
        _check_unmanaged(target, schedule, fields)
        if not _is_confirmed(target):
            typer.echo("Nothing was changed.")
            raise typer.Exit(1)

        def spec_of(schedule: "Json") -> "Json | None":
            wanted = beginning(asked, schedule, keeps_concurrency=keeps_concurrency)
            return None if wanted is None else {"backfill": wanted}

        await patch_schedule(api, schedule, spec_of)
        typer.echo(f"Begun; pipelines backfill {target.name} --follow shows how far it is.")


async def change(target: Target, *, paused: bool) -> None:
    """Pause the backfill that is under way, or let it go on."""
    async with connected() as api:
        schedule = await _with_backfill(api, target)
        _check_unmanaged(target, schedule, {"paused": paused})
        await patch_schedule(api, schedule, lambda _: {"backfill": {"paused": paused}})
    typer.echo("Paused: runs that go on, go on; --resume makes more." if paused else "It goes on.")


async def stop_it(target: Target) -> None:
    """Take the backfill out of the schedule."""
    async with connected() as api:
        schedule = await get_schedule(api, target.namespace, target.name)
        if schedule["spec"].get("backfill") is None:
            raise refused(f"schedule {target.name} has no backfill")
        _check_unmanaged(target, schedule, None)
        await patch_schedule(api, schedule, lambda _: {"backfill": None})
    typer.echo("Stopped: runs that go on, go on.")


async def follow_it(target: Target) -> None:
    """Say each change until it has ended; the exit code tells how."""
    from pipeline_core.kube.api import KubeUnavailableError

    told, is_away = "", False
    async with connected() as api:
        while True:
            try:
                last = last_backfill(await get_schedule(api, target.namespace, target.name))
            except KubeUnavailableError:
                if not is_away:
                    typer.echo("Kubernetes can't be reached; trying again", err=True)
                is_away = True
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            is_away = False
            if last is None:
                raise refused(f"schedule {target.name} has no backfill")
            line = backfill_text.progress_line(last.state, last.progress)
            if line != told:
                typer.echo(f"{last.id}: {line}")
                told = line
            if not last.is_under_way:
                break
            await asyncio.sleep(_LOOK_SECONDS)
    if last.state == INVALID:
        raise typer.Exit(int(ExitCode.CONFIG))
    if last.state != COMPLETED or last.progress.get("failed"):
        raise typer.Exit(1)


def _plan(schedule: "Json", asked: BackfillSpec) -> BackfillPlan:
    spec = schedule["spec"]
    zone = spec.get("timeZone", "Etc/UTC")
    try:
        timetable = Timetable(spec["cronExpression"], zone)
    except ValueError as error:
        raise ValueError(f"the schedule itself can't be used: expected {error}") from None
    try:
        plan = plan_backfill(asked, timetable, zone, now())
    except ValueError as error:
        raise ValueError(f"--{error}") from None
    if not plan.total:
        told = f": its {plan.left_out} ticks are still to come" if plan.left_out else ""
        raise ValueError(f"--to: {asked.last!r:.100}, expected a range in which the schedule has a tick{told}")
    return plan


async def _standing(org: str) -> "Standing | str":
    """Where the organization stands; or why nobody knows."""
    if not os.environ.get("PIPELINES_DATABASE_URL"):
        return "it is in the database, and PIPELINES_DATABASE_URL isn't set"
    from pipeline_cli.database import database_url
    from pipeline_core.store.engine import create_engine
    from pipeline_core.store.errors import StoreUnavailableError
    from pipeline_core.store.quota.ledger import QuotaLedger

    engine = create_engine(database_url())
    try:
        return await QuotaLedger(engine).standing(org)
    except StoreUnavailableError as error:
        return str(error)
    finally:
        await engine.dispose()


async def _with_backfill(api: "Api", target: Target) -> "Json":
    schedule = await get_schedule(api, target.namespace, target.name)
    last = last_backfill(schedule)
    if last is None or not last.is_under_way:
        raise refused(f"schedule {target.name} has no backfill under way")
    return schedule


def _check_unmanaged(target: Target, schedule: "Json", change: "Json | None") -> None:
    manager = managed_by(schedule["metadata"])
    if manager is not None and not target.force:
        raise refused("\n".join(backfill_text.git_lines(schedule, manager, change)))


def _is_confirmed(target: Target) -> bool:
    if target.yes:
        return True
    if not _has_terminal():
        raise refused("expected --yes: there is no terminal to ask at")
    return typer.confirm("Begin it?")


def _has_terminal() -> bool:
    return sys.stdin.isatty()
