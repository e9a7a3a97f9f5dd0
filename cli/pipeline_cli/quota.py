"""`pipelines quota`: what organizations have used of their plans, and the counters taken anew from the ledger."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline_cli import options
from pipeline_cli.database import with_database
from pipeline_cli.failing import sentences
from pipeline_cli.standing import Shown, heading, held_table, of_many, of_one, plain

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from pipeline_core.store.quota.ledger import HeldSlot, QuotaLedger
    from pipeline_core.store.quota.recompute import Recomputed

quota = typer.Typer(no_args_is_help=True, help="What organizations have used of their plans.")

# Of as many organizations is asked at once as the pool has connections.
_AT_ONCE = 10


@quota.command("show")
def show_quota(
    slug: options.AnyOrg = None,
    held: Annotated[bool, typer.Option("--held", help="Also the runs that hold a slot.")] = False,
    output: options.Output = "table",
) -> None:
    """Show limits, and what is used of them today and this month."""
    with sentences():
        shown = with_database(lambda engine: _shown(engine, slug, with_held=held))
    if output == "json":
        each_plain = [plain(each) for each in shown]
        options.write_json(each_plain if slug is None else each_plain[0])
        return
    if slug is not None:
        typer.echo(heading(shown[0]))
    options.write_table(of_many(shown) if slug is None else of_one(shown[0]))
    if held and any(each.held for each in shown):
        typer.echo()
        options.write_table(held_table(shown))
    elif held:
        typer.echo("\nno run holds a slot")


@quota.command("recompute")
def recompute_quota(
    slug: options.AnyOrg = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs.")] = False,
    output: options.Output = "table",
) -> None:
    """Set counters to what the ledger of reservations adds up to. Safe while runs start and end."""
    with sentences():
        done = with_database(lambda engine: _recomputed(engine, slug, dry_run=dry_run))
    drifts = [drift for each in done for drift in each.drifts]
    if not drifts and output == "table":
        typer.echo("every counter is what the ledger adds up to; nothing had to change")
        return

    def table() -> Table:
        made = options.columns(
            "ORG", "COUNTER", "COUNTED", "IN THE LEDGER", "WRITTEN", numbers=("COUNTED", "IN THE LEDGER")
        )
        for each in drifts:
            told = "no, --dry-run" if dry_run else "yes"
            made.add_row(each.org_slug, each.counter, str(each.counted), str(each.in_ledger), told)
        return made

    changed = bool(drifts) and not dry_run
    options.write(output, {"changed": changed, "differences": [asdict(each) for each in drifts]}, table)


async def _shown(engine: "AsyncEngine", slug: str | None, *, with_held: bool) -> list[Shown]:
    from pipeline_core.store.organizations import Organizations
    from pipeline_core.store.quota.ledger import QuotaLedger

    organizations, ledger = Organizations(engine), QuotaLedger(engine)
    found = await organizations.list() if slug is None else [await organizations.get(slug)]
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(org_slug: str, time_zone: str) -> Shown:
        async with limit:
            slots = await _held(ledger, org_slug) if with_held else None
            return Shown(await ledger.standing(org_slug), time_zone, slots)

    return await asyncio.gather(*(one(each.org_slug, each.time_zone) for each in found))


async def _held(ledger: "QuotaLedger", org_slug: str) -> "list[HeldSlot]":
    slots = page = await ledger.held(org_slug=org_slug)
    while page:
        page = await ledger.held(org_slug=org_slug, after=page[-1].run_id)
        slots = [*slots, *page]
    return slots


async def _recomputed(engine: "AsyncEngine", slug: str | None, *, dry_run: bool) -> "list[Recomputed]":
    from pipeline_core.store.organizations import Organizations
    from pipeline_core.store.quota.recompute import recompute

    slugs = [each.org_slug for each in await Organizations(engine).list()] if slug is None else [slug]
    # One after the other, each under its own lock: nobody waits for more than one organization's sums.
    return [await recompute(engine, each, dry_run=dry_run) for each in slugs]
