"""Whatever the files hold, the loader answers with a catalog or with problems that name a file and a line."""

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_core.catalog.files import PROVIDERS_FILE, CatalogFiles
from pipeline_core.catalog.loader import build_catalog
from pipeline_core.catalog.problems import CatalogInvalidError
from pipeline_core.catalog.yaml_document import read_yaml
from pipeline_core.wording import shorten

REGISTRY = b"providers: {gcp: {display_name: Google Cloud, credential_kind: none}}"
PATH = "gcp/cost/billing.yml"
VALID: dict[str, Any] = {
    "pipeline": {"name": "gcp_billing", "provider": "gcp", "domain": "cost"},
    "processor": {"class": "A", "module": "src.core.processors.a"},
    "source": {
        "type": "bigquery",
        "project": "p",
        "dataset": "{{x}}",
        "table": "t",
        "rescan_days": 3,
        "catch_up_days": 9,
    },
    "target": {"dataset": "{{org_slug}}_{{env}}", "table": "t", "tables": {"usage": "u"}},
    "checks": {
        "row_count": {"min": 1, "max": 9},
        "not_null": ["cost"],
        "not_null_proportion": {"cost": {"min": "0.5"}},
        "sum": {"cost": {"min": "0.5", "max": 7}},
        "quarantined": {"max": 0},
        "tables": {"usage": {"row_count": {"min": 1}}},
    },
    "parameters": {"date": {"type": "date", "default": "{{yesterday}}"}},
    "schedule": {"default_cron": "0 * * * *"},
    "retry": {"max_retries": 1},
}

yaml_text = st.text("ab:-?[]{},&*!|>'\"%@#\n\t \\0u1.~<=e+", max_size=60)
keys = st.sampled_from(sorted({*VALID, *(key for section in VALID.values() for key in section), "x", "{{"}))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["{{date}}", "{{", "bigquery"]),
    lambda nodes: st.lists(nodes, max_size=2) | st.dictionaries(keys, nodes, max_size=3),
    max_leaves=6,
)


def check(content: bytes) -> None:
    try:
        catalog = build_catalog(CatalogFiles({PROVIDERS_FILE: REGISTRY, PATH: content}, ()))
    except CatalogInvalidError as error:
        assert error.problems  # noqa: PT017
        lines = content.count(b"\n") + content.count(b"\r") + 1
        for problem in error.problems:
            assert problem.file == PATH
            # YAML counts U+0085, U+2028 and U+2029 as line breaks too.
            assert 1 <= problem.line <= lines + sum(content.count(c.encode()) for c in "\x85\u2028\u2029")
            assert problem.message
            assert "\n" not in str(problem)
        return
    assert catalog.get("gcp", "cost", "billing").path == PATH


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    check(content)


@given(yaml_text | st.text(max_size=80))
def test_any_text(text: str) -> None:
    check(text.encode(errors="surrogatepass"))


@given(values)
def test_any_values(value: object) -> None:
    check(yaml.safe_dump(value).encode())


@given(st.data())
@settings(max_examples=200)
def test_a_valid_config_with_any_one_thing_changed(data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(sorted(VALID)))
    field = data.draw(keys)
    config = {**VALID, section: {**VALID[section], field: data.draw(values)}}
    check(yaml.safe_dump(config).encode())


def test_the_config_that_is_changed_was_valid() -> None:
    build_catalog(CatalogFiles({PROVIDERS_FILE: REGISTRY, PATH: yaml.safe_dump(VALID).encode()}, ()))


@given(
    st.dictionaries(st.text("abc", min_size=1), st.text() | st.integers(-(2**62), 2**62) | st.booleans() | st.none())
)
def test_what_was_written_is_what_is_read(value: dict[str, object]) -> None:
    encoded = yaml.safe_dump(value, allow_unicode=False, default_style='"').encode()
    try:
        read = read_yaml(encoded, PATH).value
    except CatalogInvalidError as error:
        assert any(isinstance(text, str) and not text.isprintable() for text in value.values()), error  # noqa: PT017
        return
    assert read == value


@given(values)
def test_a_shortened_value_is_short(value: object) -> None:
    assert len(shorten(value)) < 400
