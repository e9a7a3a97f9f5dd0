"""Broken catalogs are refused, and each error names file, line and field."""

import os
import re
import time
from pathlib import Path

import pytest

from pipeline_core.catalog.loader import load_catalog
from pipeline_core.catalog.problems import CatalogInvalidError
from pipeline_core.catalog.yaml_document import MAX_BYTES
from pipeline_core.errors import ConfigInvalidError

BILLING = "gcp/cost/billing.yml"


def problems_of(root: Path) -> list[str]:
    with pytest.raises(CatalogInvalidError) as error:
        load_catalog(root)
    assert isinstance(error.value, ConfigInvalidError)
    assert error.value.reason == "ConfigInvalid"
    return [str(problem) for problem in error.value.problems]


REQUIRED = [
    ("  name: gcp_billing\n", 1, "pipeline.name"),
    ("  provider: gcp\n", 1, "pipeline.provider"),
    ("  domain: cost\n", 1, "pipeline.domain"),
    ("  class: ExternalBQExtractor\n", 8, "processor.class"),
    ("  module: src.core.processors.gcp.external_bq_extractor\n", 8, "processor.module"),
    ('  dataset: "{{org_slug}}_{{env}}"\n', 18, "target.dataset"),
    ("  table: gcp_billing_costs\n", 18, "target.table"),
]


@pytest.mark.parametrize(("line", "near", "field"), REQUIRED, ids=[field for _, _, field in REQUIRED])
def test_each_of_the_seven_fields_is_required(billing_with, line, near, field):
    assert problems_of(billing_with(line, "")) == [f"{BILLING}:{near}: {field}: required, but missing"]


# What is written instead of what; the line and field of the error; a part of its message.
BROKEN = [
    ('version: "1.0"', "version: 1.0", 6, "pipeline.version", "expected a string, got 1.0: put quotes around it"),
    ('version: "1.0"', "verzion: x", 6, "pipeline.verzion", "unknown field; known here: name, provider, domain"),
    ("name: gcp_billing\n", "name: GCP Billing\n", 2, "pipeline.name", "'GCP Billing' doesn't match ^[a-z]"),
    ("provider: gcp\n", "provider: openai\n", 4, "pipeline.provider", "'openai' doesn't match the folder, 'gcp'"),
    ("domain: cost\n", "domain: usage\n", 5, "pipeline.domain", "'usage' doesn't match the folder, 'cost'"),
    ("src.core.processors.gcp.external_bq_extractor", "os.path", 10, "processor.module", "'os.path' isn't a module of"),
    (
        "src.core.processors.gcp.external_bq_extractor",
        "src.core.processors.",
        10,
        "processor.module",
        "allowed package",
    ),
    (
        "src.core.processors.gcp.external_bq_extractor",
        "src.core.processors...os",
        10,
        "processor.module",
        "it must begin with one of: src.core.processors., pipeline_runner.processors.",
    ),
    ("ExternalBQExtractor", "__import__('os')", 9, "processor.class", "doesn't match"),
    ("{{org_slug}}_{{env}}", "other_{{env}}", 20, "target.dataset", 'must be "{{org_slug}}_{{env}}", got'),
    ("{{org_slug}}_{{env}}", "{{org_slug}}_{{env}}_x", 20, "target.dataset", "must be"),
    ("table: gcp_billing_costs", "table: a.b", 21, "target.table", "'a.b' isn't the name of a BigQuery table"),
    ("table: gcp_billing_costs", 'table: "{{date}}`; DROP"', 21, "target.table", "isn't the name of a BigQuery table"),
    ("table: gcp_billing_costs", "table: a\n  project: x", 22, "target.project", "unknown field; known here: type"),
    ("table: gcp_billing_costs", "table: a\n  tables: {usage: a.b}", 22, "target.tables.usage", "'a.b' isn't the name"),
    ("table: gcp_billing_costs", "table: a\n  tables: {Usage: b}", 22, "target.tables.Usage", "doesn't match"),
    ("table: gcp_billing_costs", "table: a\n  tables: {usage: a}", 22, "target.tables.usage", "'a' is target.table"),
    (
        "table: gcp_billing_costs",
        "table: a\n  tables:\n    x: b\n    y: b",
        24,
        "target.tables.y",
        "'b' is target.tables.x already; each table needs a name of its own",
    ),
    ("table: gcp_billing_export", "table: t\n  rescan_days: 0", 16, "source.rescan_days", "or equal to 1, got 0"),
    ("table: gcp_billing_export", "table: t\n  rescan_days: 91", 16, "source.rescan_days", "or equal to 90, got 91"),
    ("table: gcp_billing_export", "table: t\n  rescan_days: 3d", 16, "source.rescan_days", "an integer, got '3d'"),
    ("table: gcp_billing_export", "table: t\n  catch_up_days: -1", 16, "source.catch_up_days", "or equal to 0, got -1"),
    ("table: gcp_billing_export", "table: t\n  catch_up_days: 9", 12, "source", "only beside rescan_days"),
    ("table: gcp_billing_export", "table: t\n  catch_up_days: 91", 16, "source.catch_up_days", "to 90, got 91"),
    ("{{billing_dataset_id}}", "{{biling_dataset_id}}", 14, "source.dataset", "unknown variable 'biling_dataset_id'"),
    ("{{billing_dataset_id}}", "{{billing_dataset_id}", 14, "source.dataset", "malformed template at"),
    ('"{{billing_dataset_id}}"', "{{billing_dataset_id}}", 14, "source.dataset", "put quotes around a template"),
    ("table: gcp_billing_export", "table: t\n  colour: red", 16, "source.colour", "known here: type, project, dataset"),
    ("table: gcp_billing_export", "table: t\n  read: fast", 16, "source.read", "expected 'auto', 'query' or 'storage'"),
    ('default: "{{yesterday}}"', 'default: "{{nope}}"', 27, "parameters.date.default", "unknown variable 'nope'"),
    (
        'default: "{{yesterday}}"',
        'default: "{{billing_project_id}}"',
        27,
        "parameters.date.default",
        "unknown variable 'billing_project_id'; known here: org_slug, env, date",
    ),
    (
        'default: "{{yesterday}}"',
        "default: 2026-02-30",
        27,
        "parameters.date.default",
        "expected a day of the calendar",
    ),
    ('default: "{{yesterday}}"', "default: [1]", 27, "parameters.date.default", "expected a string, a number, or true"),
    (
        '    type: string\n    required: false\n    default: "{{yesterday}}"',
        '    type: string\n    required: true\n    default: "{{yesterday}}"',
        24,
        "parameters.date",
        "leave one of the two out",
    ),
    (
        '    type: string\n    required: false\n    default: "{{yesterday}}"',
        "    type: integer",
        25,
        "parameters.date.type",
        "date is a date by its name",
    ),
    (
        '    type: string\n    required: false\n    default: "{{yesterday}}"',
        "    type: text",
        25,
        "parameters.date.type",
        "expected 'string', 'integer', 'number', 'boolean' or 'date', got 'text'",
    ),
    ("  end_date:", "  Last-Day:", 31, "parameters.Last-Day", "doesn't match"),
    ("  end_date:", "  last_day:", 23, "parameters", "start_date and end_date belong together"),
    ('"0 */6 * * *"', '"* * * * * *"', 36, "schedule.default_cron", "it has 6 fields"),
    ('"0 */6 * * *"', '"61 * * * *"', 36, "schedule.default_cron", "minute '61', expected"),
    ('"0 */6 * * *"', '"0 0 30 2 *"', 36, "schedule.default_cron", "names a day that never comes"),
    ('"0 */6 * * *"', '"R R * * *"', 36, "schedule.default_cron", "minute 'R', expected"),
    ("enabled: true", "enabled: yes", 37, "schedule.enabled", "expected true or false, got 'yes'"),
    ("  enabled: true", "timeout_seconds: 0", 37, "timeout_seconds", "greater than or equal to 1, got 0"),
    ("  enabled: true", "timeout_seconds: 90s", 37, "timeout_seconds", "expected an integer, got '90s'"),
    ("  enabled: true", "retry: {max_retries: 99}", 37, "retry.max_retries", "less than or equal to 10, got 99"),
    ("  enabled: true", "retry: 3", 37, "retry", "expected a mapping, got 3"),
    ("  enabled: true", "enabeld: true", 37, "enabeld", "unknown field; known here: pipeline, processor, source"),
    ("  enabled: true", "  enabled: true\n  enabled: false", 38, "schedule.enabled", "the key is already on line 37"),
    (
        "  enabled: true",
        "  enabled: !!python/name:os.system ''",
        37,
        "schedule.enabled",
        "can hold (python/name:os.system)",
    ),
    ("  enabled: true", "<<: {a: 1}", 37, "<<", "merge keys aren't allowed"),
]


@pytest.mark.parametrize(("old", "new", "line", "field", "message"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_broken_field_is_named_with_its_line(folder, old, new, line, field, message):
    text = (folder.root / BILLING).read_text()
    assert old in text
    folder.write(BILLING, text.replace(old, new, 1))
    problems = problems_of(folder.root)
    assert any(p.startswith(f"{BILLING}:{line}: {field}: ") and message in p for p in problems), problems


CHECKS = "row_count, not_null, not_null_proportion, sum, quarantined"
# What `checks` holds; the line and field of the error; a part of its message. Its field stands on line 36.
BAD_CHECKS = [
    ("  rows: {min: 1}", "checks.rows", f"unknown field; known here: {CHECKS}, tables"),
    ("  row_count: {}", "checks.row_count", "expected min, max, or both"),
    ("  row_count: 5", "checks.row_count", "expected a mapping, got 5"),
    ("  row_count: {min: -1}", "checks.row_count.min", "greater than or equal to 0, got -1"),
    ("  row_count: {min: 5, max: 4}", "checks.row_count", "min 5 is above max 4, so nothing could pass"),
    ("  row_count: {least: 1}", "checks.row_count.least", "unknown field; known here: min, max"),
    ("  not_null: cost", "checks.not_null", "expected a list, got 'cost'"),
    ("  not_null: []", "checks.not_null", "at least 1 item"),
    ("  not_null: [credits.amount]", "checks.not_null[0]", "'credits.amount' doesn't match"),
    ("  not_null_proportion: {cost: {}}", "checks.not_null_proportion.cost.min", "required, but missing"),
    ("  not_null_proportion: {}", "checks.not_null_proportion", "at least 1 item"),
    ("  not_null_proportion: [cost]", "checks.not_null_proportion", "expected a mapping, got a list of 1"),
    ("  not_null_proportion: {cost: '0.5'}", "checks.not_null_proportion.cost", "expected a mapping, got '0.5'"),
    ("  not_null_proportion: {cost: {min: }}", "checks.not_null_proportion.cost.min", "an integer or a decimal"),
    ("  not_null_proportion: {cost: {max: 1}}", "checks.not_null_proportion.cost.max", "unknown field; known here"),
    ("  not_null_proportion: {cost: {min: 0.5}}", "checks.not_null_proportion.cost.min", "got 0.5: put quotes"),
    ("  not_null_proportion: {cost: {min: '1.5'}}", "checks.not_null_proportion.cost.min", "or equal to 1, got"),
    ("  not_null_proportion: {cost: {min: '-0.5'}}", "checks.not_null_proportion.cost.min", "or equal to 0, got"),
    ("  sum: {cost: {min: 0.5}}", "checks.sum.cost.min", 'a decimal in quotes such as "0.50", got 0.5: put quotes'),
    ("  sum: {cost: {max: true}}", "checks.sum.cost.max", "expected an integer or a decimal in quotes"),
    ("  sum: {cost: {max: NaN}}", "checks.sum.cost.max", "got 'NaN'"),
    ("  sum: {cost: {max: '1e3'}}", "checks.sum.cost.max", "got '1e3'"),
    ("  sum: {cost: {min: '2', max: '1.5'}}", "checks.sum.cost", "min 2 is above max 1.5"),
    ("  sum: {cost: {}}", "checks.sum.cost", "expected min, max, or both"),
    ("  sum: {'a b': {min: 1}}", "checks.sum.a b", "doesn't match"),
    ("  quarantined: {}", "checks.quarantined.max", "required, but missing"),
    ("  quarantined: {max: -1}", "checks.quarantined.max", "greater than or equal to 0"),
    (
        "  tables: {usage: {row_count: {min: 1}}}",
        "checks.tables.usage",
        "known there: none, as target.tables is missing",
    ),
    (
        "  tables: {usage: {tables: {}}}",
        "checks.tables.usage.tables",
        f"known here: {CHECKS}",
    ),
]


@pytest.mark.parametrize(
    ("checks", "field", "message"), BAD_CHECKS, ids=[checks.strip() for checks, _, _ in BAD_CHECKS]
)
def test_a_check_that_cannot_be_is_named_with_its_line(folder, checks, field, message):
    folder.edit_billing("schedule:\n", f"checks:\n{checks}\nschedule:\n")
    problems = problems_of(folder.root)
    assert any(p.startswith(f"{BILLING}:36: {field}: ") for p in problems), problems
    assert any(message in p for p in problems), problems


def test_checks_of_a_table_that_the_target_does_not_name_are_refused(folder):
    folder.edit_billing("table: gcp_billing_costs", "table: a\n  tables: {usage: b}")
    text = (folder.root / BILLING).read_text()
    folder.write(BILLING, text.replace("schedule:\n", "checks:\n  tables: {usage: {}, used: {}}\nschedule:\n"))
    assert problems_of(folder.root) == [
        f"{BILLING}:37: checks.tables.used: no table of target.tables; known there: usage"
    ]


UNREADABLE = [
    (b"", 1, "the file is empty"),
    (b"# nothing\n", 1, "the file is empty"),
    (b"just text", 1, "expected a mapping, got 'just text'"),
    (b"pipeline:\n  name: [a\nb: }", 3, "broken YAML: "),
    (b"pipeline:\n\tname: a", 2, "broken YAML: "),
    (b"a: 1\n--- \nb: 2", 2, "broken YAML: "),
    (b"a: *nothing", 1, "found undefined alias"),
    (b"a: 1\nb: \xff\xfe", 2, "not UTF-8: byte 0xff"),
    (b"a: 1\nb: \x00", 2, "broken YAML: character U+0000 isn't allowed"),
    (b'a: "\\U00110000"', 1, "broken YAML: "),
    (b"a: " + b"[" * 100 + b"]" * 100, 1, "nested deeper than 20 levels"),
    (b"[" * 100_000, 1, "nested deeper than 20 levels"),
    (b"a: &a [*a]", 1, "nested deeper than 20 levels"),
    (b"a: " + b"9" * 5_000, 1, "isn't a value that a config can hold (int)"),
    (b"a: 1e999", 1, "isn't a value that a config can hold (float)"),
    (b"a: .nan", 1, "isn't a value that a config can hold (float)"),
    (b'? "a\\nb"\n: 1', 1, "can't be a key"),
    (b"a: " + b"x" * MAX_BYTES, 1, f"a config has at most {MAX_BYTES}"),
]


@pytest.mark.parametrize(("content", "line", "message"), UNREADABLE, ids=[message for _, _, message in UNREADABLE])
def test_a_file_that_is_no_config_is_named_with_the_line(folder, content, line, message):
    folder.write(BILLING, content)
    problems = problems_of(folder.root)
    assert any(p.startswith(f"{BILLING}:{line}: ") and message in p for p in problems), problems
    assert all(len(problem) < 500 for problem in problems)


def test_aliases_that_multiply_are_stopped_early(folder):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    folder.write(BILLING, bomb)
    started = time.monotonic()
    assert any("more than 10000 values, aliases expanded" in problem for problem in problems_of(folder.root))
    assert time.monotonic() - started < 5


def test_all_problems_of_all_files_are_told_at_once(folder):
    folder.edit_billing("domain: cost\n  version", "domain: 7\n  verzion")
    folder.write("system/providers.yml", "providers:\n  gcp: {display_name: G, credential_kind: magic}\n")
    folder.write_smallest("gcp/cost/other.yml", provider="gcp", domain="usage", name="other")
    problems = problems_of(folder.root)
    assert [problem.split(": ")[0] for problem in problems] == [
        f"{BILLING}:5",
        f"{BILLING}:6",
        "gcp/cost/other.yml:4",
        "system/providers.yml:2",
    ]
    with pytest.raises(CatalogInvalidError, match=r"pipeline\.verzion.*providers\.gcp\.credential_kind"):
        load_catalog(folder.root)


def test_a_long_list_of_problems_is_cut_in_the_message_but_kept_in_full(folder):
    folder.write(BILLING, "".join(f"field_{n}: 1\n" for n in range(40)))
    with pytest.raises(CatalogInvalidError) as error:
        load_catalog(folder.root)
    assert len(error.value.problems) == 43
    assert str(error.value).endswith("; and 38 more")


MISPLACED = [
    ("billing.yml", "expected {provider}/{domain}/{pipeline}.yml"),
    ("gcp/cost/billing.yaml", "the name of a config ends in .yml"),
    ("gcp/cost/My-Billing.yml", "each part of the path must match"),
    ("system/plans.yml", "nothing reads this file"),
    ("gcp/cost/deep/billing.yml", "folders go no deeper than {provider}/{domain}"),
]


@pytest.mark.parametrize(("path", "message"), MISPLACED)
def test_a_file_in_the_wrong_place_is_refused(folder, path, message):
    folder.write(path, "a: 1")
    assert any(message in problem for problem in problems_of(folder.root))


def test_a_provider_that_is_not_registered_is_refused(folder):
    folder.write_smallest("azure/cost/billing.yml", provider="azure", domain="cost", name="azure_billing")
    expected = "pipeline.provider: unknown provider 'azure'; system/providers.yml has: anthropic, demo, gcp"
    assert problems_of(folder.root) == [f"azure/cost/billing.yml:3: {expected}"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("gcp/billing.yml", "other"), ("gcp/cost/other.yml", "billing"), ("gcp/cost/other.yml", "gcp_billing")],
    ids=["the same stem", "a name that is another's stem", "the same name"],
)
def test_two_configs_of_one_name_are_refused(folder, path, name):
    folder.write_smallest(path, provider="gcp", domain="cost", name=name)
    (problem,) = problems_of(folder.root)
    assert "is already the name of gcp/" in problem


PROVIDERS = [
    ("gcp: {credential_kind: none}", "providers.gcp.display_name: required"),
    ("gcp: {display_name: G, credential_kind: none, settings: {date: {}}}", "settings.date: a built-in variable"),
    ("G-C-P: {display_name: G, credential_kind: none}", "providers.G-C-P: 'G-C-P' doesn't match"),
    ("gcp: {display_name: G, credential_kind: none, integration_required: 1}", "expected true or false, got 1"),
    ("gcp: {display_name: G, credential_kind: none, region: eu}", "known here: display_name, credential_kind"),
]


@pytest.mark.parametrize(("entry", "message"), PROVIDERS)
def test_a_broken_registry_is_told(folder, entry, message):
    folder.write("system/providers.yml", f"providers:\n  {entry}\n")
    assert any(
        problem.startswith("system/providers.yml:2: ") and message in problem for problem in problems_of(folder.root)
    )


def test_a_missing_registry_and_a_missing_folder_are_told(folder, tmp_path):
    (folder.root / "system/providers.yml").unlink()
    assert any("system/providers.yml:1: the file is missing" in problem for problem in problems_of(folder.root))
    (problem,) = problems_of(tmp_path / "nowhere")
    assert "can't be read: No such file or directory" in problem


def test_what_is_no_file_is_refused_instead_of_waited_for(folder):
    os.mkfifo(folder.root / "gcp/cost/pipe.yml")
    assert problems_of(folder.root) == ["gcp/cost/pipe.yml:1: not a regular file"]


def test_a_link_that_goes_round_is_refused(folder):
    (folder.root / "gcp/cost/round").symlink_to(folder.root)
    assert problems_of(folder.root) == ["gcp/cost/round:1: folders go no deeper than {provider}/{domain}"]


def test_without_declared_settings_any_variable_may_be_one(folder):
    more = 'source: {type: bigquery, project: "{{their_project}}", dataset: a, table: b}\n'
    folder.write_smallest("anthropic/cost/a.yml", provider="anthropic", domain="cost", name="a", more=more)
    assert load_catalog(folder.root).get("anthropic", "cost", "a")


def test_a_source_of_another_type_keeps_its_own_fields(folder):
    more = 'source: {type: http, url: "https://api.example.com/{{date}}", group_by: [model], limit: null}\n'
    folder.write_smallest("anthropic/cost/a.yml", provider="anthropic", domain="cost", name="a", more=more)
    document = load_catalog(folder.root).get("anthropic", "cost", "a").content.to_document()
    assert document["source"] == {
        "type": "http",
        "url": "https://api.example.com/{{date}}",
        "group_by": ["model"],
        "limit": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_key", "hunter2hunter2"),
        ("client_secret", "hunter2hunter2"),
        ("clientSecret", "hunter2hunter2"),
        ("access_token", "hunter2hunter2"),
        ("organization", "sk-admin-hunter2hunter2hunter2"),
        ("url", "https://u:hunter2hunter2@api.example.com"),
        ("login", "{token: hunter2hunter2}"),
        ("headers", '["Bearer hunter2hunter2hunter2"]'),
    ],
)
def test_a_credential_in_a_source_is_refused_and_not_repeated(folder, field, value):
    more = f"source: {{type: http, {field}: {value if value[0] in '{[' else repr(value)}}}\n"
    folder.write_smallest("anthropic/cost/a.yml", provider="anthropic", domain="cost", name="a", more=more)
    (problem,) = problems_of(folder.root)
    assert re.search(rf"source\.{field}\S*: a config is no place for a credential", problem)
    assert "hunter2" not in problem


def test_names_and_texts_that_only_sound_like_credentials_are_kept(folder):
    more = 'source: {type: http, token_limit: "5", page_token: next, note: "basic authentication, by a token"}\n'
    folder.write_smallest("anthropic/cost/a.yml", provider="anthropic", domain="cost", name="a", more=more)
    assert load_catalog(folder.root).get("anthropic", "cost", "a")


def test_a_credential_anywhere_else_is_refused_and_not_repeated(folder):
    key = "sk-admin-hunter2hunter2hunter2"
    folder.write_smallest("anthropic/cost/a.yml", provider="anthropic", domain="cost", name="a", more=f"{key}: 1\n")
    other = folder.write_smallest("anthropic/cost/b.yml", provider="anthropic", domain="cost", name="b")
    other.write_text(other.read_text().replace("name: b", f"name: b\n  description: {key}"))
    told = problems_of(folder.root)
    assert any("[redacted]: unknown field" in problem for problem in told)
    assert any("pipeline.description: a config is no place for a credential" in problem for problem in told)
    assert not any("hunter2" in problem for problem in told)
