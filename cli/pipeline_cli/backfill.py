"""`pipelines backfill`: runs of a schedule for a range of times that are over.

It writes a field of the schedule; the operator does the rest, so nothing is lost when the command ends.
"""

import asyncio
from typing import Annotated

import typer

from pipeline_cli.backfill_steps import Target, begin, change, follow_it, stop_it
from pipeline_cli.cluster import namespace_of, schedule_name
from pipeline_cli.failing import refused, sentences
from pipeline_core.schedules.backfill import MAX_CONCURRENCY, default_id
from pipeline_core.schedules.ids import BACKFILL_ID
from pipeline_core.schedules.observed import BackfillSpec

# As a shell has it: 128 and the number of the signal.
_INTERRUPTED = 130


def backfill(
    schedule: Annotated[str, typer.Argument(help="Name of the PipelineSchedule.")],
    first: Annotated[
        str | None, typer.Option("--from", help="Where the range begins: a day of the schedule's zone, or a time.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Where it ends, itself included.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=MAX_CONCURRENCY, help="How many of its runs go on at a time: 1 by default.")
    ] = None,
    backfill_id: Annotated[
        str | None, typer.Option("--id", help="Names it; with another id the same range runs once more.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Of the schedule; the current context's by default.")
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Make no more runs for now.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after --pause.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Make no more runs; those that go on, go on.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would be.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even if the schedule is kept in Git.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show how far it is until it ends.")] = False,
) -> None:
    """Make a run for each tick of a schedule in a range of times, whether the tick had one or not.

    The runs take the dates of their ticks, go on beside the schedule's own, and count against the quota. The operator
    makes them: this says what it will be, asks, and writes it into the schedule.
    """
    begins = first is not None or last is not None
    _check(begins, first, last, pause=pause, resume=resume, stop=stop, dry_run=dry_run, follow=follow)
    with sentences():
        name = schedule_name(schedule)
        target = Target(namespace_of(namespace), name, yes, force)
        if first is not None and last is not None:
            _check_ascii("--from", first)
            _check_ascii("--to", last)
            if backfill_id is not None and not BACKFILL_ID.fullmatch(backfill_id):
                expected = "at most 32 lower-case letters, digits and '-', which stands at neither end"
                raise ValueError(f"--id {backfill_id!r:.100}: expected {expected}")
            asked = BackfillSpec(backfill_id or default_id(first, last), first, last, concurrency or 1)
            asyncio.run(begin(target, asked, dry_run=dry_run, keeps_concurrency=concurrency is None))
        elif pause or resume:
            asyncio.run(change(target, paused=pause))
        elif stop:
            asyncio.run(stop_it(target))
        if not follow:
            return
        try:
            asyncio.run(follow_it(target))
        except KeyboardInterrupt:
            raise refused("the backfill goes on; --follow alone shows it again", _INTERRUPTED) from None


def _check(
    begins: bool, first: str | None, last: str | None, *, pause: bool, resume: bool, stop: bool, dry_run: bool,
    follow: bool,
) -> None:  # fmt: skip
    """Refuse what contradicts itself."""
    if begins and (first is None or last is None):
        raise refused(f"expected --{'to' if last is None else 'from'} beside --{'from' if last is None else 'to'}")
    wanted = [name for name, is_given in
              (("--from", begins), ("--pause", pause), ("--resume", resume), ("--stop", stop)) if is_given]  # fmt: skip
    if len(wanted) > 1:
        raise refused(f"{' and '.join(wanted)} exclude each other")
    if not wanted and not follow:
        raise refused("expected --from and --to; or one of --pause, --resume, --stop and --follow")
    if follow and (dry_run or pause or stop):
        raise refused("--follow shows a backfill that goes on: expected none of --dry-run, --pause and --stop")
    if dry_run and not begins:
        raise refused("--dry-run is of a backfill to begin: expected --from and --to")


def _check_ascii(option: str, given: str) -> None:
    """Refuse bytes that are no text, before anything is made of them."""
    if not given.isascii():
        raise ValueError(f"{option}: {given!r:.100}, expected a day (2026-10-01) or a time with its offset")
