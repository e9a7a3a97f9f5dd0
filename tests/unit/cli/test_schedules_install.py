"""`pipelines schedules install`: a manifest for each config with a schedule, the same each time, within the CRD."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_cli.schedule_manifests import stagger_seconds

RUNNER = CliRunner()
CONFIGS = Path(__file__).parents[3] / "configs"
BILLING = (CONFIGS / "gcp/cost/billing.yml").read_text()
SECTION = 'schedule:\n  default_cron: "0 */6 * * *" # Every 6 hours\n  enabled: true\n'


def install(*arguments: str, configs: Path = CONFIGS, code: int = 0) -> str:
    result = RUNNER.invoke(app, ["schedules", "install", *arguments, "--configs", str(configs)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def manifests(*arguments: str, configs: Path = CONFIGS) -> list[Any]:
    return list(yaml.safe_load_all(install(*arguments, configs=configs)))


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A catalog of its own, without pipelines yet."""
    folder = tmp_path / "configs"
    (folder / "system").mkdir(parents=True)
    (folder / "system/providers.yml").write_text((CONFIGS / "system/providers.yml").read_text())
    return folder


def put(configs: Path, domain: str, stem: str, section: str = SECTION) -> None:
    text = BILLING.replace(SECTION, section)
    text = text.replace("name: gcp_billing", f"name: gcp_{domain}_{stem}").replace("domain: cost", f"domain: {domain}")
    path = configs / "gcp" / domain / f"{stem}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def names(configs: Path, org: str = "acme", *arguments: str) -> list[str]:
    return [each["metadata"]["name"] for each in manifests(org, *arguments, configs=configs)]


def test_the_manifest_of_the_catalogs_pipeline() -> None:
    (made,) = manifests("acme_corp", "--namespace", "tenants", "--time-zone", "Europe/Madrid")
    assert made == {
        "apiVersion": "pipelines.dev/v1alpha1",
        "kind": "PipelineSchedule",
        "metadata": {
            "name": "acme-corp-gcp-cost-billing",
            "namespace": "tenants",
            "labels": {"pipelines.dev/org": "acme_corp", "pipelines.dev/provider": "gcp"},
        },
        "spec": {
            "org": "acme_corp",
            "provider": "gcp",
            "domain": "cost",
            "pipeline": "billing",
            "cronExpression": "0 */6 * * *",
            "timeZone": "Europe/Madrid",
            "enabled": True,
            "staggerSeconds": 3600,
        },
    }


def test_without_a_namespace_none_is_written() -> None:
    (made,) = manifests("acme")
    assert "namespace" not in made["metadata"]
    assert made["spec"]["timeZone"] == "Etc/UTC"


def test_the_same_catalog_makes_the_same_bytes(tmp_path: Path) -> None:
    assert install("acme") == install("acme")
    folder = tmp_path / "a" / "b"
    assert install("acme", "--output", str(folder)) == f"{folder}: 1 of 1 written, 0 as they were\n"
    path = folder / "acme-gcp-cost-billing.yaml"
    before = path.stat().st_mtime_ns, path.read_text()
    assert install("acme", "--output", str(folder)) == f"{folder}: 0 of 1 written, 1 as they were\n"
    assert (path.stat().st_mtime_ns, path.read_text()) == before
    assert before[1] == install("acme")
    path.write_text("other")
    assert "1 of 1 written" in install("acme", "--output", str(folder))
    assert path.read_text() == before[1]


def test_only_what_has_a_schedule_is_written_and_in_order(configs: Path) -> None:
    put(configs, "usage", "tokens")
    put(configs, "cost", "credits", section="")
    put(configs, "cost", "billing", section='schedule: {default_cron: " 30  1 * * * ", enabled: false}\n')
    found = manifests("acme", configs=configs)
    assert [each["metadata"]["name"] for each in found] == ["acme-gcp-cost-billing", "acme-gcp-usage-tokens"]
    assert (found[0]["spec"]["cronExpression"], found[0]["spec"]["enabled"]) == ("30 1 * * *", False)
    assert names(configs, "acme", "--provider", "gcp") == names(configs)


def test_names_fit_and_are_of_one_schedule_each(configs: Path) -> None:
    for domain, stem in (
        ("a_b", "c"),
        ("a", "b_c"),
        ("x", "y_"),
        ("cost", "z" * 52),
        ("cost", "z" * 53),
        ("cost", "b"),
    ):
        put(configs, domain, stem)
    found = names(configs)
    assert len(set(found)) == len(found) == 6
    for name in found:
        assert len(name) <= 52
        assert yaml.safe_load(name) == name
        assert all(part and part.isascii() for part in name.split("-")), name
    assert "acme-gcp-cost-b" in found
    assert "acme-gcp-x-y" in found
    assert sorted(name[:-9] for name in found if name.startswith("acme-gcp-a-b-c")) == ["acme-gcp-a-b-c"] * 2


def test_a_name_stays_whatever_else_is_asked_for(configs: Path) -> None:
    put(configs, "a_b", "c")
    put(configs, "a", "b_c")
    assert names(configs) == names(configs, "acme", "--provider", "gcp")
    others = names(configs, "globex")
    assert not set(others) & set(names(configs))


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("* * * * *", 15),
        ("*/5 * * * *", 75),
        ("0,10 * * * *", 150),
        ("0 * * * *", 900),
        ("0 */6 * * *", 3600),
        ("0 6 * * *", 3600),
        ("0 0 29 2 *", 3600),
        ("@yearly", 3600),
    ],
)
def test_no_spread_reaches_the_next_tick(expression: str, seconds: int) -> None:
    assert stagger_seconds(expression, "Etc/UTC") == seconds


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Acme",), "org_slug: 'Acme' doesn't match"),
        (("acme", "--provider", "gcq"), "Unknown provider: gcq"),
        (("acme", "--provider", "openai"), "no pipeline of provider openai has a schedule in its config"),
        (("acme", "--time-zone", "Mars"), "--time-zone 'Mars': expected a name of the IANA time zone database"),
        (("acme", "--namespace", "A b"), "--namespace 'A b': expected the name of a namespace"),
        (("acme", "--output", "/dev/null/x"), "/dev/null/x: Not a directory"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], words: str) -> None:
    assert words in install(*arguments, code=78)


def test_a_catalog_that_cannot_be_used_is_told(configs: Path) -> None:
    assert "no pipeline has a schedule in its config" in install("acme", configs=configs, code=78)
    put(configs, "cost", "billing", section="schedule: {default_cron: often}\n")
    assert "gcp/cost/billing.yml" in install("acme", configs=configs, code=78)
    assert "no such folder" in install("acme", configs=configs / "none", code=78)


def test_a_pipeline_that_needs_a_parameter_has_no_schedule(configs: Path) -> None:
    put(configs, "cost", "billing")
    path = configs / "gcp/cost/billing.yml"
    lines = path.read_text().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("parameters:"))
    path.write_text(
        "".join(itertools.chain(lines[: at + 1], ["  days: {type: integer, required: true}\n"], lines[at + 1 :]))
    )
    words = install("acme", configs=configs, code=78)
    assert "no run of its schedule could start: parameter 'days' is required" in words
