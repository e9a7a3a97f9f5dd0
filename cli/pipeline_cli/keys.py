"""`pipelines keys`: the keys with which organizations' clients call the HTTP API."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline_cli import options
from pipeline_cli.database import with_database
from pipeline_cli.failing import sentences
from pipeline_cli.times import duration, moment
from pipeline_core.api_keys import Scope, check_key, check_key_id, make_key
from pipeline_core.settings import ApiKeySettings

if TYPE_CHECKING:
    from pipeline_core.store.api_keys import ApiKey

keys = typer.Typer(no_args_is_help=True, help="Keys of the HTTP API.")

_KeyId = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="Id of a key: what is between plk_ and the next _, never all of it.")
]


@keys.command("create")
def create_key(
    slug: options.Org,
    name: Annotated[str, typer.Option(help="Who or what uses it, such as ci.")],
    scope: Annotated[list[Scope], typer.Option(help="What it opens; repeat it. admin opens all.")],
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it ends: after 90d or 12h, or at the first moment of 2027-01-31, UTC."),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="How often it may be used; the bridge's own setting by default.")
    ] = None,
    output: options.Output = "table",
) -> None:
    """Make a key of an organization. It is written once, on the last line, and kept nowhere.

    Uses PIPELINES_DATABASE_URL and PIPELINES_API_KEY_PEPPER, which is the
    bridge's.
    """
    from pipeline_core.store.api_keys import ApiKeys

    with sentences():
        expires_at = None if expires is None else moment("expires", expires, datetime.now(UTC))
        check_key(slug, name, scope, expires_at, requests_per_minute)
        new = make_key(_pepper())
        made = with_database(
            lambda engine: ApiKeys(engine).create(
                slug,
                name=name,
                scopes=scope,
                digest=new.digest,
                key_id=new.key_id,
                expires_at=expires_at,
                requests_per_minute=requests_per_minute,
            )
        )
    # crash here: nobody has seen the key, and it opens nothing; it is in the list, as one never used
    _tell(made, new.text, output, f"key {_told(made)} created")


@keys.command("list")
def list_keys(slug: options.AnyOrg = None, output: options.Output = "table") -> None:
    """List keys, those that ended too. The keys themselves are nowhere."""
    from pipeline_core.store.api_keys import ApiKeys

    with sentences():
        found = with_database(lambda engine: ApiKeys(engine).list(slug))
    now = datetime.now(UTC)

    def table() -> Table:
        made = options.columns(
            "KEY ID", "ORG", "NAME", "SCOPES", "STATE", "CREATED", "EXPIRES", "LAST USED", "PER MINUTE", "REPLACED BY",
            numbers=("PER MINUTE",),
        )  # fmt: skip
        for each in found:
            made.add_row(
                each.key_id,
                each.org_slug,
                Text(each.name),
                ", ".join(sorted(each.scopes)),
                _state(each, now),
                _shown(each.created_at),
                _shown(each.expires_at),
                _shown(each.last_used_at),
                str(each.requests_per_minute or ""),
                each.replaced_by,
            )
        return made

    options.write(output, [{**_plain(each), "state": _state(each, now)} for each in found], table)


@keys.command("rotate")
def rotate_key(
    key_id: _KeyId,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long the old key goes on, such as 24h or 7d; 0 ends it at once.")
    ] = "24h",
    output: options.Output = "table",
) -> None:
    """Make a key in place of another: of the same organization, name, scopes and rate, to last as long.

    It is written once, on the last line, and kept nowhere. Uses
    PIPELINES_DATABASE_URL and PIPELINES_API_KEY_PEPPER.
    """
    from pipeline_core.store.api_keys import ApiKeys

    with sentences():
        after = duration("grace", grace)
        check_key_id(key_id)
        new = make_key(_pepper())
        made = with_database(
            lambda engine: ApiKeys(engine).rotate(key_id, new_key_id=new.key_id, digest=new.digest, grace=after)
        )
    # crash here: nobody has seen the new key; rotate that one, whose id the list tells, for another
    old = f"{key_id} ends after {grace} at the latest" if after else f"{key_id} has ended"
    _tell(made, new.text, output, f"key {_told(made)} created; {old}")


@keys.command("revoke")
def revoke_key(key_id: _KeyId) -> None:
    """End a key now, for good. Uses PIPELINES_DATABASE_URL."""
    from pipeline_core.store.api_keys import ApiKeys

    with sentences():
        ended = with_database(lambda engine: ApiKeys(engine).revoke(key_id))
    typer.echo(f"key {ended.key_id} of {ended.org_slug} ({ended.name}) is revoked since {_shown(ended.revoked_at)}")


def _pepper() -> bytes:
    return ApiKeySettings().api_key_pepper.get_secret_value().encode()


def _tell(made: "ApiKey", text: str, output: str, sentence: str) -> None:
    """The key on standard output, where nothing else is on its line; nowhere else, and never again."""
    if output == "json":
        options.write_json({"key": text, **_plain(made)})
    else:
        typer.echo(sentence)
        typer.echo(text)
    typer.echo("the key is not shown again: only a digest of it is stored", err=True)


def _told(key: "ApiKey") -> str:
    until = "never expires" if key.expires_at is None else f"expires {_shown(key.expires_at)}"
    rate = "" if key.requests_per_minute is None else f", {key.requests_per_minute} requests a minute"
    return f"{key.key_id} of {key.org_slug} ({key.name}: {', '.join(sorted(key.scopes))}; {until}{rate})"


def _state(key: "ApiKey", now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.is_active(now) else "expired"


def _shown(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def _plain(key: "ApiKey") -> dict[str, object]:
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    return {
        "key_id": key.key_id,
        "org_slug": key.org_slug,
        "name": key.name,
        "scopes": sorted(key.scopes),
        **{name: None if (time := getattr(key, name)) is None else time.isoformat() for name in times},
        "requests_per_minute": key.requests_per_minute,
        "replaced_by": key.replaced_by,
    }
