"""The cost view's text: FOCUS's columns in its order, over whichever tables and columns there are."""

import re
from itertools import combinations

import pytest
import sqlglot
from sqlglot import exp

from pipeline_core.focus import ai_apis, google_cloud, services
from pipeline_core.focus.columns import COLUMNS, MANDATORY, MARK, OWN
from pipeline_core.focus.kinds import Columns, Kinds
from pipeline_core.focus.sql import text
from pipeline_core.focus.view import TABLES, digest, focus_view, obstacles
from support import focus_rules


def kinds(of: Kinds, *names: str) -> Columns:
    """The columns of a table, each of the first type that it may have."""
    return {name: next(iter(of[name])) for name in names}


GOOGLE = kinds(
    google_cloud.KINDS, *google_cloud.REQUIRED, "cost_at_list", "credits[].amount", "invoice.month", "cost_type"
)
COSTS = kinds(ai_apis.KINDS, *ai_apis.REQUIRED)
EVERYTHING = {
    "gcp_billing_costs": kinds(google_cloud.KINDS, *google_cloud.KINDS),
    "openai_costs": kinds(ai_apis.KINDS, *ai_apis.KINDS),
    "anthropic_costs": kinds(ai_apis.KINDS, *ai_apis.KINDS),
}
ALL = {"gcp_billing_costs": GOOGLE, "openai_costs": COSTS, "anthropic_costs": COSTS}


def parsed(tables: dict[str, Columns]) -> exp.Expression:
    statement = focus_view("project-1", "acme_dev", tables)
    assert statement is not None
    return sqlglot.parse_one(statement, dialect="bigquery")


def test_the_mandatory_columns_are_those_of_the_specification_in_its_order() -> None:
    specified = [(name, type_) for name, (type_, _) in focus_rules.COLUMNS.items()]
    assert specified == list(MANDATORY.items())
    assert list(MANDATORY) == sorted(MANDATORY)
    assert list(COLUMNS)[: len(MANDATORY)] == list(MANDATORY)


def test_our_own_columns_have_the_prefix_that_the_specification_asks_for() -> None:
    assert all(re.fullmatch(r"x_[A-Z][A-Za-z]+", name) for name in OWN)
    assert OWN.keys() >= MARK


@pytest.mark.parametrize("there", [each for size in (1, 2, 3) for each in combinations(ALL, size)])
def test_each_part_has_all_columns_in_the_same_order(there: tuple[str, ...]) -> None:
    tree = parsed({name: ALL[name] for name in there})
    selects = [
        each
        for each in tree.find_all(exp.Select)
        if each.args.get("from_") and isinstance(each.args["from_"].this, exp.Table)
    ]
    assert len(selects) == len(there)
    assert all(each.named_selects == list(COLUMNS) for each in selects)
    assert {each.args["from_"].this.sql("bigquery") for each in selects} == {
        f"`project-1.acme_dev.{name}` AS t" for name in there
    }


def test_no_table_no_view() -> None:
    assert focus_view("p", "acme_dev", {}) is None
    assert focus_view("p", "acme_dev", {"gcp_billing_costs": {"cost": "NUMERIC"}, "other": COSTS}) is None


@pytest.mark.parametrize("table", TABLES)
def test_what_a_table_lacks_is_told(table: str) -> None:
    whole = GOOGLE if table.startswith("gcp") else COSTS
    assert obstacles(table, whole) == []
    less = {name: type_ for name, type_ in whole.items() if name != "currency"}
    assert obstacles(table, less) == ["currency: missing, expected STRING"]


@pytest.mark.parametrize("type_", ["STRING", "RECORD", "BOOLEAN", "JSON"])
def test_a_table_with_other_things_than_amounts_is_told_and_left_out(type_: str) -> None:
    wrong = COSTS | {"amount": type_}
    assert obstacles("openai_costs", wrong) == [f"amount: {type_}, expected NUMERIC, BIGNUMERIC, INTEGER or FLOAT"]
    assert focus_view("p", "acme_dev", ALL | {"openai_costs": wrong}) == focus_view(
        "p", "acme_dev", {name: columns for name, columns in ALL.items() if name != "openai_costs"}
    )


@pytest.mark.parametrize(
    ("name", "type_"), [("cost_type", "INTEGER"), ("cost_at_list", "STRING"), ("credits[].amount", "STRING")]
)
def test_a_column_that_the_view_can_do_without_is_not_taken_with_another_type(name: str, type_: str) -> None:
    without = {each: kind for each, kind in GOOGLE.items() if each != name}
    taken = focus_view("p", "acme_dev", {"gcp_billing_costs": GOOGLE | {name: type_}})
    assert taken == focus_view("p", "acme_dev", {"gcp_billing_costs": without})
    assert taken != focus_view("p", "acme_dev", {"gcp_billing_costs": GOOGLE})


def test_what_is_read_is_declared_with_its_type() -> None:
    """Else a column would never be taken, as if no table had it."""
    names = re.findall(r"\bt\.([a-z_.]+)", str(focus_view("p", "acme_dev", EVERYTHING)))
    declared = google_cloud.KINDS.keys() | ai_apis.KINDS.keys()
    assert {*names, "credits[].amount"} - {"credits"} == declared


def test_the_detailed_export_is_asked_only_for_what_the_standard_one_lacks() -> None:
    both = {"gcp_billing_costs": GOOGLE, "gcp_detailed_billing_costs": GOOGLE}
    standard, detailed = str(focus_view("p", "acme_dev", both)).split("UNION ALL")
    assert "gcp_detailed_billing_costs" not in standard
    assert "JOIN" not in standard
    (other,) = sqlglot.parse_one(detailed, dialect="bigquery").find_all(exp.Join)
    assert "gcp_billing_costs" in str(other)
    # of the standard export's rows all partitions are read, and so nothing but these two columns may be
    assert {column.name for column in other.this.find_all(exp.Column)} == {"billing_account_id", "usage_start_time"}


def test_an_export_that_cannot_be_used_hides_nothing_of_the_other() -> None:
    both = {"gcp_billing_costs": {"cost": "NUMERIC"}, "gcp_detailed_billing_costs": GOOGLE}
    assert focus_view("p", "acme_dev", both) == focus_view("p", "acme_dev", {"gcp_detailed_billing_costs": GOOGLE})


def test_the_digest_is_that_of_the_definition() -> None:
    one, other = (
        focus_view("p", "acme_dev", ALL),
        focus_view("p", "acme_dev", ALL | {"openai_costs": COSTS | {"quantity": "NUMERIC"}}),
    )
    assert one is not None
    assert other is not None
    assert re.fullmatch("[0-9a-f]{16}", digest(one))
    assert digest(one) != digest(other)


def test_the_account_of_the_apis_is_the_organization() -> None:
    assert "'a_b_c' AS BillingAccountId" in str(focus_view("p", "a_b_c_dev", {"openai_costs": COSTS}))


def test_services_have_one_category_each_of_the_closed_list() -> None:
    names = [name for group in services.GOOGLE_CLOUD.values() for name in group]
    assert len(names) == len(set(names))
    assert {*services.GOOGLE_CLOUD, services.OTHER, services.AI} <= set(focus_rules.SERVICE_CATEGORIES)


def test_texts_are_escaped() -> None:
    assert text("it's \\ so") == r"'it\'s \\ so'"
