"""`pipelines schedules install`: a manifest for each config with a schedule, the same each time, within the CRD."""

import errno
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


def test_each_pipeline_of_the_catalog_has_its_manifest() -> None:
    made = manifests("acme_corp", "--namespace", "tenants", "--time-zone", "Europe/Madrid")
    assert [(*(each["spec"][name] for name in ("provider", "pipeline", "enabled")),) for each in made] == [
        ("anthropic", "usage_cost", True),
        ("gcp", "billing", True),
        ("gcp", "detailed_billing", False),
        ("openai", "usage_cost", True),
    ]
    (billing,) = [each for each in made if each["spec"]["pipeline"] == "billing"]
    assert billing == {
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


def test_without_a_namespace_none_is_written(configs: Path) -> None:
    put(configs, "cost", "billing")
    (made,) = manifests("acme", configs=configs)
    assert "namespace" not in made["metadata"]
    assert made["spec"]["timeZone"] == "Etc/UTC"


def test_the_same_catalog_makes_the_same_bytes(configs: Path, tmp_path: Path) -> None:
    assert install("acme") == install("acme")
    put(configs, "cost", "billing")
    folder = tmp_path / "a" / "b"
    assert install("acme", "--output", str(folder), configs=configs) == f"{folder}: 1 new, 0 replaced, 0 unchanged\n"
    path = folder / "acme-gcp-cost-billing.yaml"
    before = path.stat().st_mtime_ns, path.read_text()
    assert install("acme", "--output", str(folder), configs=configs) == f"{folder}: 0 new, 0 replaced, 1 unchanged\n"
    assert (path.stat().st_mtime_ns, path.read_text()) == before
    assert before[1] == install("acme", configs=configs)


def test_what_somebody_has_edited_is_replaced_only_when_that_is_asked_for(configs: Path, tmp_path: Path) -> None:
    put(configs, "cost", "billing")
    put(configs, "usage", "tokens")
    folder = tmp_path / "schedules"
    install("acme", "--output", str(folder), configs=configs)
    edited, other = folder / "acme-gcp-cost-billing.yaml", folder / "acme-gcp-usage-tokens.yaml"
    written = edited.read_text()
    edited.write_text(written + "# by hand\n")
    other.unlink()
    words = install("acme", "--output", str(folder), configs=configs, code=78)
    assert words == (
        f"{edited}: expected no file, or one as it would be written; nothing was written, --force replaces it\n"
    )
    assert edited.read_text().endswith("# by hand\n")
    assert not other.exists()
    said = install("acme", "--output", str(folder), "--force", configs=configs)
    assert said == f"{folder}: 1 new, 1 replaced, 0 unchanged\n"
    assert edited.read_text() == written


def test_many_files_that_differ_are_counted(configs: Path, tmp_path: Path) -> None:
    for stem in "abcde":
        put(configs, "cost", stem)
    install("acme", "--output", str(tmp_path / "to"), configs=configs)
    for path in (tmp_path / "to").iterdir():
        path.write_text("other")
    words = install("acme", "--output", str(tmp_path / "to"), configs=configs, code=78)
    assert words.count(".yaml") == 3
    assert "acme-gcp-cost-c.yaml and 2 more: expected no file" in words


def test_a_file_is_replaced_as_a_whole_or_not_at_all(
    configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(configs, "cost", "billing")
    folder = tmp_path / "to"
    install("acme", "--output", str(folder), configs=configs)
    (path,) = folder.iterdir()
    path.write_text("other")

    def full(_self: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", full)
        words = install("acme", "--output", str(folder), "--force", configs=configs, code=78)
        assert "No space left on device" in words
    assert path.read_text() == "other"
    real = tmp_path / "elsewhere.yaml"
    path.rename(real)
    path.symlink_to(real)
    install("acme", "--output", str(folder), "--force", configs=configs)
    assert real.read_text() == install("acme", configs=configs)
    assert [each.name for each in folder.iterdir()] == [path.name]
    assert path.is_symlink()


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
    assert sorted(name[:-9] for name in found if name.startswith("acme-gcp-a-b-c")) == ["acme-gcp-a-b-c"] * 2


def test_no_two_organizations_have_a_schedule_of_one_name(configs: Path) -> None:
    for domain, stem in (("cost", "c"), ("b", "c"), ("b", "c_"), ("gcp", "c"), ("b_gcp", "c")):
        put(configs, domain, stem)
    orgs = ("a_b", "a__b", "a_b_gcp", "a__b_gcp", "a_gcp", "a", "aa", "a" * 40 + "_b", "a" * 40 + "__b")
    found = [name for org in orgs if len(org) > 1 for name in names(configs, org)]
    assert len(set(found)) == len(found)
    assert "a-b-gcp-cost-c" in found


def test_a_name_hangs_on_nothing_else_of_the_catalog(configs: Path) -> None:
    put(configs, "a", "b_c")
    before = names(configs)
    put(configs, "a_b", "c")
    assert set(before) < set(names(configs))


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
    put(configs, "cost", "billing")
    words = install("acme", "--provider", "openai", configs=configs, code=78)
    assert "no pipeline of provider openai has a schedule in its config" in words
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
