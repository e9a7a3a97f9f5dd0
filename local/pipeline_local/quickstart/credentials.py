"""Gives the organization's keys to its runs, as a person would: one in a plain Secret, the other in a sealed one."""

import tempfile
from pathlib import Path

from rich.console import Console

from pipeline_core.credentials import names
from pipeline_local.kubectl import Kubectl
from pipeline_local.quickstart import commands
from pipeline_local.quickstart.accounts import ANTHROPIC, OPENAI, Account

_KEYSET = "keyset.yaml"


def give(console: Console, kubectl: Kubectl, org: str, simulators: str, folder: Path) -> None:
    """Make both Secrets and both integrations; `simulators` is the address that the runs reach. Harmless to repeat.

    The files with keys in them stand in a folder of their own within `folder`, only while they are needed.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        desk = Path(name)
        for account in (OPENAI, ANTHROPIC):
            (desk / f"{account.provider}.key").write_text(account.key)
        _plain(console, kubectl, org, OPENAI, desk)
        _sealed(console, kubectl, org, ANTHROPIC, desk)
    for account in (OPENAI, ANTHROPIC):
        setting = f"{account.setting}={simulators}/{account.provider}"
        secret = names.default_secret_name(org, account.provider)
        commands.pipelines(
            console, "integration", "set", org, account.provider, "--setting", setting, "--credential-secret", secret
        )


def _plain(console: Console, kubectl: Kubectl, org: str, account: Account, desk: Path) -> None:
    secret, file = names.default_secret_name(org, account.provider), f"{account.provider}.key"
    kubectl("delete", "secret", secret, "--ignore-not-found")
    commands.say(console, f"$ kubectl create secret generic {secret} --from-file=api_key={file}")
    commands.say(console, kubectl("create", "secret", "generic", secret, f"--from-file=api_key={desk / file}"))


def _sealed(console: Console, kubectl: Kubectl, org: str, account: Account, desk: Path) -> None:
    keyset, manifest = desk / _KEYSET, desk / "sealed.yaml"
    there = kubectl("get", "secret", secret_of_keyset(org), "--ignore-not-found", "--output=yaml")
    if there:
        # another one would make all that was sealed before useless
        keyset.write_text(there)
    else:
        made = f"(umask 077; pipelines credentials keyset {org} > {_KEYSET})"
        commands.say(console, f"$ {made}; kubectl create -f {_KEYSET}")
        keyset.write_text(commands.told("credentials", "keyset", org))
        commands.say(console, kubectl("create", f"--filename={keyset}"))
    seal, field = ("credentials", "seal", org, account.provider), f"{account.provider}.key"
    commands.say(
        console,
        f"$ pipelines {' '.join(seal)} --field api_key=@{field} --keyset {_KEYSET} | kubectl apply -f -",
    )
    manifest.write_text(commands.told(*seal, "--field", f"api_key=@{desk / field}", "--keyset", str(keyset)))
    commands.say(console, kubectl("apply", f"--filename={manifest}"))


def secret_of_keyset(org: str) -> str:
    """The name of the Secret that the chart mounts for the organization, as it is unless its values say otherwise."""
    return names.keyset_secret_name(names.DEFAULT_KEYSET_SECRET, org)
