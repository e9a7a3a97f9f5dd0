"""`pipelines credentials`: sealed credentials and keysets, as manifests of Secrets for kubectl or Git."""

import base64
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from pipeline_cli import options
from pipeline_cli.failing import refused
from pipeline_core import identifiers
from pipeline_core.credentials import names
from pipeline_core.kube.names import LABEL_ORG, LABEL_PROVIDER
from pipeline_runner.errors import ProcessorError
from pipeline_runner.masking import SHORTEST_SECRET
from pipeline_runner.settings import credential_settings

if TYPE_CHECKING:
    from pipeline_core.credentials.envelope import Envelope

credentials = typer.Typer(no_args_is_help=True, help="Sealed credentials of organizations, as manifests.")

Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace of the Secret.")]


@credentials.command()
def seal(
    slug: options.Org,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Provider, such as openai.")],
    field: Annotated[
        list[str],
        typer.Option(metavar="FIELD=@FILE", help="A field, api_key=@FILE, or api_key=- for standard input; repeat it."),
    ],
    keyset: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The organization's keyset, or the manifest of its Secret.")
    ] = None,
    kms_key: Annotated[
        str | None, typer.Option(metavar="URI", help="A key of Cloud KMS; {org} in it stands for the organization.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the Secret; ORG-PROVIDER by default.")] = None,
    namespace: Namespace = None,
) -> None:
    """Print the manifest of a Secret that holds the fields sealed, for kubectl apply -f - or for Git.

    Only runs of this organization with this provider can open it. Values are read from files, never from the command
    line, which others on the machine can see.
    """
    _check(slug, provider)
    if (keyset is None) == (kms_key is None):
        raise refused("expected either --keyset FILE or --kms-key URI: what seals the fields")
    fields = _fields(field)
    try:
        called = _named(name) if name else names.default_secret_name(slug, provider)
        if keyset is not None:
            # Imported here: most commands of `pipelines` never seal anything.
            from pipeline_runner.sealing import seal_with_keyset

            envelope = seal_with_keyset(_keyset(keyset, slug), slug, provider, fields)
        else:
            envelope = _with_kms(str(kms_key), slug, provider, fields)
    except ValueError as error:
        raise refused(str(error)) from None
    labels = {LABEL_ORG: slug, LABEL_PROVIDER: provider}
    _print_secret(called, namespace, labels, {names.ENVELOPE_FILE: envelope.to_json()})
    typer.echo(f"name it: pipelines integration set {slug} {provider} --credential-secret {called} …", err=True)


@credentials.command()
def keyset(
    slug: options.Org,
    add_to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the keys of this keyset, or manifest of its Secret: they still open."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help=f"Name of the Secret; {names.DEFAULT_KEYSET_SECRET} by default.")
    ] = None,
    namespace: Namespace = None,
) -> None:
    """Print the manifest of a Secret with a new keyset of the organization, for kubectl create -f -.

    It holds a key in cleartext: never put it into Git.
    """
    if not identifiers.ORG_SLUG.fullmatch(slug):
        raise refused(f"ORG {slug!r:.100} isn't of the form {identifiers.ORG_SLUG.pattern}")
    if sys.stdout.isatty():
        raise refused(f"this prints a key: pipe it, as pipelines credentials keyset {slug} | kubectl create -f -")
    from pipeline_runner.sealing import new_keyset

    try:
        called = _named(name) if name else names.keyset_secret_name(names.DEFAULT_KEYSET_SECRET, slug)
        made = new_keyset(None if add_to is None else _keyset(add_to, slug))
    except ValueError as error:
        raise refused(str(error)) from None
    _print_secret(called, namespace, {LABEL_ORG: slug}, {names.KEYSET_FILE: made})


def _with_kms(key: str, slug: str, provider: str, fields: dict[str, str]) -> "Envelope":
    from pipeline_runner.sealing import seal_with_kms

    uri = names.checked_kms_key(key.replace("{org}", slug))
    try:
        return seal_with_kms(uri, credential_settings().kms_endpoint, slug, provider, fields)
    except ProcessorError as error:
        raise refused(str(error), error.exit_code) from None


def _check(slug: str, provider: str) -> None:
    for what, given, pattern in (("ORG", slug, identifiers.ORG_SLUG), ("PROVIDER", provider, identifiers.NAME)):
        if not pattern.fullmatch(given):
            raise refused(f"{what} {given!r:.100} isn't of the form {pattern.pattern}")


def _named(name: str) -> str:
    if not names.is_secret_name(name):
        raise refused(f"--name {name!r:.100}: expected a name as Kubernetes allows, such as acme-openai")
    return name


def _fields(given: list[str]) -> dict[str, str]:
    """The fields' values, read from where each option says. No value is ever echoed."""
    found: dict[str, str] = {}
    for number, each in enumerate(given, start=1):
        name, separator, source = each.partition("=")
        if not separator or not names.FIELD.fullmatch(name):
            raise refused(f"--field number {number}: expected FIELD=@FILE, or FIELD=- for standard input")
        if source != "-" and not (source.startswith("@") and len(source) > 1):
            raise refused(
                f"--field {name}: expected @FILE, or - for standard input; a value on the command line is seen by "
                f"others on this machine and kept by the shell: if this was one, revoke it"
            )
        if name in found:
            raise refused(f"--field {name}: given twice")
        content = sys.stdin.buffer.read(names.MAX_FILE_BYTES + 1) if source == "-" else _read(Path(source[1:]))
        found[name] = _value(name, content)
    return found


def _value(name: str, content: bytes) -> str:
    """As the runner will read it, so that what it would refuse isn't sealed."""
    if len(content) > names.MAX_FILE_BYTES:
        raise refused(f"--field {name}: larger than {names.MAX_FILE_BYTES // 1024} KiB, which no key is")
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise refused(f"--field {name}: isn't text in UTF-8") from None
    if len(value.strip()) < SHORTEST_SECRET:
        raise refused(f"--field {name}: expected at least {SHORTEST_SECRET} characters")
    return value


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(names.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise refused(f"{path}: {error.strerror}") from None


def _keyset(path: Path, slug: str) -> str:
    """A keyset's text: the file itself, or what it holds as the manifest of a Secret of this organization."""
    text = _read(path).decode(errors="replace")
    manifest: Any = None
    with suppress(yaml.YAMLError):
        manifest = yaml.safe_load(text)
    if not isinstance(manifest, dict) or manifest.get("kind") != "Secret":
        return text
    labels = (manifest.get("metadata") or {}).get("labels") or {}
    if (owner := labels.get(LABEL_ORG, slug)) != slug:
        told = f"{path}: expected the keyset of {slug}, this Secret is of {owner}"
        raise refused(f"{told}; no run of {slug} could open what it seals")
    plain, encoded = (manifest.get(part) or {} for part in ("stringData", "data"))
    if names.KEYSET_FILE in plain:
        return str(plain[names.KEYSET_FILE])
    try:
        return base64.b64decode(str(encoded[names.KEYSET_FILE]), validate=True).decode()
    except (KeyError, ValueError):
        raise refused(f"{path}: this Secret has no {names.KEYSET_FILE}") from None


def _print_secret(name: str, namespace: str | None, labels: dict[str, str], texts: dict[str, str]) -> None:
    metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata | {"labels": labels},
        "type": "Opaque",
        "stringData": texts,
    }
    typer.echo(yaml.safe_dump(manifest, sort_keys=False), nl=False)
