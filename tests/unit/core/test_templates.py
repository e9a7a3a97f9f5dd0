"""Templates resolve strictly, over parsed values, typed, and once."""

from datetime import UTC, datetime, timedelta, timezone
from time import tzset

import pytest

from pipeline_core.errors import TemplateInvalidError
from pipeline_core.templates import BUILT_INS, TemplateResolver, built_in_variables

CONTEXT = {"org_slug": "acme", "env": "dev", "count": 3, "share": 0.5, "on": True, "items": [1, {"a": "{{env}}"}]}


def resolve(config: dict) -> dict:
    return TemplateResolver().resolve(config, CONTEXT)


RESOLVED = [
    ("{{org_slug}}_{{env}}", "acme_dev"),
    ("{{ org_slug }}", "acme"),
    ("{{\torg_slug\n}}", "acme"),
    ("plain", "plain"),
    ("", ""),
    ("{single} } {", "{single} } {"),
    ("{{count}}", 3),
    ("{{on}}", True),
    ("{{share}}", 0.5),
    ("n={{count}}, {{on}}, {{share}}", "n=3, true, 0.5"),
    ("{{items}}", [1, {"a": "{{env}}"}]),
    (7, 7),
    (None, None),
    (False, False),
    (["{{env}}", {"deep": ["{{org_slug}}"]}], ["dev", {"deep": ["acme"]}]),
]


@pytest.mark.parametrize(("template", "expected"), RESOLVED, ids=repr)
def test_values_resolve(template, expected):
    value = resolve({"value": template})["value"]
    assert value == expected
    assert type(value) is type(expected)


def test_keys_are_not_templated_and_the_config_is_left_alone():
    config = {"{{env}}": {"a": "{{env}}"}}
    assert resolve(config) == {"{{env}}": {"a": "dev"}}
    assert config == {"{{env}}": {"a": "{{env}}"}}


def test_what_a_variable_holds_is_never_resolved_again():
    context = {"a": "{{b}}", "b": "secret"}
    assert TemplateResolver().resolve({"x": "{{a}}", "y": "-{{a}}-"}, context) == {"x": "{{b}}", "y": "-{{b}}-"}


def test_two_variables_never_join_into_a_template():
    assert TemplateResolver().resolve({"x": "{{a}}{{b}}"}, {"a": "{{", "b": "c}}", "c": "no"}) == {"x": "{{c}}"}


MALFORMED = ["{{", "}}", "{{}}", "{{ }}", "{{org_slug", "org_slug}}", "{{org slug}}", "{{Org}}", "{{1}}", "{{{env}}}"]
MALFORMED += ["{{a.b}}", "{{env|upper}}", "{{{{env}}}}", "{{ {{env}} }}", "{{env}", "{{énv}}", "{{env}}}}"]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_templates_are_refused_where_they_stand(text):
    with pytest.raises(TemplateInvalidError, match=r"^source\.tables\[1\]: malformed template at "):
        resolve({"source": {"tables": ["ok", text]}})


def test_an_unknown_variable_is_named_with_its_place_and_what_is_known():
    with pytest.raises(TemplateInvalidError) as error:
        resolve({"source": {"dataset": "{{nope}}", "table": "x{{neither}}"}})
    known = "known: count, env, items, on, org_slug, share"
    assert str(error.value) == (
        f"source.dataset: unknown variable 'nope'; {known}; source.table: unknown variable 'neither'; {known}"
    )
    assert error.value.reason == "TemplateInvalid"


def test_a_list_has_no_place_inside_a_text():
    with pytest.raises(TemplateInvalidError, match=r"^a: variable 'items' is no scalar"):
        resolve({"a": "x{{items}}"})


def test_depth_and_size_are_bounded():
    nested: dict = {"a": "{{env}}"}
    for _ in range(30):
        nested = {"a": nested}
    with pytest.raises(TemplateInvalidError, match="nested deeper than 20 levels"):
        resolve(nested)
    with pytest.raises(TemplateInvalidError, match=r"^a\[2\]: the config's texts come to more than 131072 characters"):
        TemplateResolver().resolve({"a": ["{{v}}" * 6] * 9}, {"v": "x" * 10_000})
    with pytest.raises(TemplateInvalidError, match="malformed"):
        resolve({"a": "{{" * 100_000})


@pytest.fixture
def tokyo(monkeypatch):
    """The machine's own zone is another than UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        tzset()
        yield
    tzset()


def variables_at(time: datetime) -> dict[str, str]:
    return built_in_variables(org_slug="acme", env="dev", run_id="run_1", logical_time=time)


def test_built_ins_are_zero_padded_strings():
    assert variables_at(datetime(2026, 3, 1, 12, tzinfo=UTC)) == {
        "org_slug": "acme",
        "env": "dev",
        "date": "2026-03-01",
        "yesterday": "2026-02-28",
        "year": "2026",
        "month": "03",
        "day": "01",
        "run_id": "run_1",
    }
    assert tuple(variables_at(datetime(2026, 3, 1, tzinfo=UTC))) == BUILT_INS


@pytest.mark.parametrize(
    ("time", "date", "yesterday"),
    [
        (datetime(2024, 3, 1, tzinfo=UTC), "2024-03-01", "2024-02-29"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01", "2025-12-31"),
        (datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))), "2025-12-31", "2025-12-30"),
        (datetime(2026, 1, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5))), "2026-01-02", "2026-01-01"),
    ],
    ids=["leap day", "new year", "still yesterday in UTC", "already tomorrow in UTC"],
)
def test_days_are_those_of_utc(time, date, yesterday, tokyo):
    assert (variables_at(time)["date"], variables_at(time)["yesterday"]) == (date, yesterday)
