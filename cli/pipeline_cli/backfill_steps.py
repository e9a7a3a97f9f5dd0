"""The steps of `pipelines backfill`: what it reads of a schedule, and what it writes into it."""

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from pipeline_cli import backfill_text
from pipeline_cli.backfill_standing import standing_of
from pipeline_cli.cluster import changed_meanwhile, connected, get_schedule, patch_schedule
from pipeline_cli.failing import refused
from pipeline_core.kube.gitops import managed_by
from pipeline_core.outcome import ExitCode
from pipeline_core.process import now
from pipeline_core.schedules.asking import COMPLETED, INVALID, beginning, last_backfill
from pipeline_core.schedules.backfill import BackfillPlan, plan_backfill
from pipeline_core.schedules.observed import BackfillSpec
from pipeline_core.schedules.timetable import Timetable

if TYPE_CHECKING:
    from pipeline_core.kube.api import Json

# Between two looks at how far it is.
_LOOK_SECONDS = 2.0
_IS_THERE = "It is there already; nothing was changed."


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
        for line in backfill_text.plan_lines(schedule, asked, plan, await standing_of(schedule["spec"]["org"])):
            typer.echo(line)
        fields = beginning(asked, schedule, keeps_concurrency=keeps_concurrency)
        if fields is None:
            typer.echo(_IS_THERE)
            return
        if dry_run:
            typer.echo("Nothing was changed.")
            return
        _check_unmanaged(target, schedule, fields)
        if not _is_confirmed(target):
            typer.echo("Nothing was changed.")
            raise typer.Exit(1)
        first_read = schedule

        def spec_of(schedule: "Json") -> "Json | None":
            if _times(schedule) != _times(first_read):
                raise changed_meanwhile(target.name, f"its times, which were {' '.join(_times(first_read))}")
            wanted = beginning(asked, schedule, keeps_concurrency=keeps_concurrency)
            if _last_id(schedule) not in {_last_id(first_read), asked.id}:
                raise changed_meanwhile(target.name, f"its backfill is {_last_id(schedule)}")
            if wanted is None:
                return None
            _check_unmanaged(target, schedule, wanted)
            return {"backfill": wanted}

        if await patch_schedule(api, schedule, spec_of) is None:
            typer.echo(_IS_THERE)
            return
        typer.echo(f"Begun; pipelines backfill {target.name} --follow shows how far it is.")


async def change(target: Target, *, paused: bool) -> None:
    """Pause the backfill that is under way, or let it go on."""
    async with connected() as api:
        schedule = await get_schedule(api, target.namespace, target.name)
        meant = _last_id(schedule)

        def spec_of(schedule: "Json") -> "Json":
            last = last_backfill(schedule)
            if last is None or not last.is_under_way:
                raise refused(f"schedule {target.name} has no backfill under way")
            _check_same(target, schedule, meant)
            _check_unmanaged(target, schedule, {"paused": paused})
            return {"backfill": {"paused": paused}}

        await patch_schedule(api, schedule, spec_of)
    typer.echo("Paused: runs that go on, go on; --resume makes more." if paused else "It goes on.")


async def stop_it(target: Target) -> None:
    """Take the backfill out of the schedule."""
    async with connected() as api:
        schedule = await get_schedule(api, target.namespace, target.name)
        meant = _last_id(schedule)

        def spec_of(schedule: "Json") -> "Json":
            if schedule["spec"].get("backfill") is None:
                raise refused(f"schedule {target.name} has no backfill")
            _check_same(target, schedule, meant)
            _check_unmanaged(target, schedule, None)
            return {"backfill": None}

        await patch_schedule(api, schedule, spec_of)
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
    expression, zone = _times(schedule)
    try:
        timetable = Timetable(expression, zone)
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


def _times(schedule: "Json") -> tuple[str, str]:
    """What the ticks follow from: expression and zone."""
    return schedule["spec"]["cronExpression"], schedule["spec"].get("timeZone", "Etc/UTC")


def _last_id(schedule: "Json") -> str | None:
    last = last_backfill(schedule)
    return None if last is None else last.id


def _check_same(target: Target, schedule: "Json", meant: str | None) -> None:
    """Refuse to change a backfill that has taken the place of the one that was meant."""
    if _last_id(schedule) != meant:
        raise changed_meanwhile(target.name, f"its backfill is {_last_id(schedule)}, no longer {meant}")


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
