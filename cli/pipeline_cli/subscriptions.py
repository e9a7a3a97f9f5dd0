"""`pipelines subscription`: an organization's plan, its status and its limits."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline_cli import options
from pipeline_cli.database import with_database
from pipeline_cli.failing import refused, sentences

if TYPE_CHECKING:
    from pipeline_core.admission.subscription import Subscription

subscription = typer.Typer(no_args_is_help=True, help="Plans of organizations: status and limits.")

_Status = Annotated[
    str | None,
    typer.Option(help="ACTIVE, TRIAL, SUSPENDED, CANCELLED or EXPIRED; runs start with the first two. New: ACTIVE."),
]


@subscription.command("set")
def set_subscription(
    slug: options.Org,
    status: _Status = None,
    plan: Annotated[str | None, typer.Option(help="The plan's name, for people.")] = None,
    per_day: Annotated[int | None, typer.Option(help="Most runs in a day.", metavar="N")] = None,
    per_month: Annotated[int | None, typer.Option(help="Most runs in a month.", metavar="N")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Most runs at a time.", metavar="N")] = None,
) -> None:
    """Make an organization's subscription, or change what is given of it.

    A new one needs all three limits. Runs that have started go on.

    Uses the database of PIPELINES_DATABASE_URL; refused where that has a view
    on another system's subscriptions.
    """
    from pipeline_core.store.subscriptions import Subscriptions

    with sentences():
        found = with_database(
            lambda engine: Subscriptions(engine).set(
                slug, status=status, plan=plan, per_day=per_day, per_month=per_month, concurrent=concurrent
            )
        )
    limits = found.limits
    named = f" ({found.plan})" if found.plan else ""
    typer.echo(
        f"subscription of {slug}{named} is {found.status}: "
        f"{limits.per_day} runs a day, {limits.per_month} a month, {limits.concurrent} at a time"
    )


@subscription.command("show")
def show_subscription(slug: options.Org, output: options.Output = "table") -> None:
    """Show an organization's subscription."""
    from pipeline_core.store.subscriptions import Subscriptions

    with sentences():
        found = with_database(lambda engine: Subscriptions(engine).get(slug))
    if found is None:
        raise refused(f"{slug} has no subscription, so its runs are refused: pipelines subscription set {slug} …")

    def table() -> Table:
        numbers = ("A DAY", "A MONTH", "AT A TIME")
        made = options.columns("ORG", "STATUS", "PLAN", *numbers, numbers=numbers)
        limits = (found.limits.per_day, found.limits.per_month, found.limits.concurrent)
        made.add_row(slug, found.status, found.plan, *("not set" if each is None else str(each) for each in limits))
        return made

    options.write(output, _plain(found), table)


def _plain(found: "Subscription") -> dict[str, object]:
    return {
        "org_slug": found.org_slug,
        "status": found.status,
        "plan": found.plan,
        "pipelines_per_day_limit": found.limits.per_day,
        "pipelines_per_month_limit": found.limits.per_month,
        "concurrent_pipelines_limit": found.limits.concurrent,
    }
