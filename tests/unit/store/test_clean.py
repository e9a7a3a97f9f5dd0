"""Text from outside is storable in PostgreSQL after cleaning, and what was storable stays as it was."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline_core.store.clean import MAX_TEXT, clean_text, clean_value

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_cleaned_text_has_no_nul_encodes_and_is_bounded(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert len(cleaned) <= MAX_TEXT


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")))
def test_storable_text_stays(text: str) -> None:
    assert clean_text(text) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | ANY_TEXT, lambda e: st.lists(e) | st.dictionaries(ANY_TEXT, e)
    )
)
def test_a_cleaned_value_is_json_without_escaped_nul_or_surrogates(value: object) -> None:
    text = json.dumps(clean_value(value))
    assert "\\u0000" not in text.replace("\\\\", "")
    assert json.dumps(clean_value(value), ensure_ascii=False).encode()
