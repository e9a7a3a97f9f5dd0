"""Whatever config and values: no template survives, values are never looked into, only the domain's error is raised."""

import copy
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline_core.errors import TemplateInvalidError
from pipeline_core.templates import TemplateResolver, split_template, walk_texts

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
plain = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=12)
braces = st.text("{} ab", max_size=16)


@st.composite
def contexts(draw: st.DrawFn) -> dict[str, Any]:
    return draw(st.dictionaries(names, st.one_of(plain, braces, st.integers(), st.booleans()), min_size=1, max_size=4))


def configs(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    scalars = st.one_of(texts, st.integers(), st.booleans(), st.none())
    trees = st.recursive(
        scalars, lambda nodes: st.lists(nodes, max_size=3) | st.dictionaries(braces, nodes, max_size=3)
    )
    return st.dictionaries(braces, trees, max_size=4)


@given(st.data(), contexts())
def test_every_template_is_replaced_by_its_value_and_nothing_else_is(
    data: st.DataObject, context: dict[str, Any]
) -> None:
    variable = st.sampled_from(sorted(context))
    pieces = st.lists(plain | variable.map(lambda name: f"{{{{ {name} }}}}"), max_size=4)
    config = data.draw(configs(pieces.map("".join)))
    before = copy.deepcopy(config)

    def expected(text: str) -> Any:
        if whole := re.fullmatch(r"\{\{ (\w+) \}\}", text):
            return context[whole[1]]
        spoken = {True: "true", False: "false"}
        parts = re.split(r"\{\{ (\w+) \}\}", text)
        for i in range(1, len(parts), 2):
            value = context[parts[i]]
            parts[i] = spoken[value] if isinstance(value, bool) else str(value)
        return "".join(parts)

    def apply(value: Any) -> Any:
        if isinstance(value, str):
            return expected(value)
        if isinstance(value, dict):
            return {key: apply(child) for key, child in value.items()}
        return [apply(child) for child in value] if isinstance(value, list) else value

    assert TemplateResolver().resolve(config, context) == apply(config)
    assert config == before


@given(configs(plain | braces), st.dictionaries(names, plain, max_size=4))
def test_with_plain_values_no_template_survives(config: dict[str, Any], context: dict[str, str]) -> None:
    try:
        resolved = TemplateResolver().resolve(config, context)
    except TemplateInvalidError as error:
        assert "malformed template" in str(error) or "unknown variable" in str(error)  # noqa: PT017
        return
    for _, text in walk_texts(resolved):
        assert "{{" not in text
        assert "}}" not in text


@given(st.text() | braces)
def test_a_template_splits_into_parts_that_join_again_or_is_malformed(text: str) -> None:
    try:
        parts = split_template(text)
    except ValueError:
        assert "{{" in text or "}}" in text
        return
    rejoined = "".join(part if isinstance(part, str) else f"{{{{{part[0]}}}}}" for part in parts)
    assert re.sub(r"\{\{\s*|\s*\}\}", "", rejoined) == re.sub(r"\{\{\s*|\s*\}\}", "", text)
