"""A secret that the process knows never gets through, however a text holds it; other texts stay as they are."""

import base64
import json
import secrets
import tracemalloc
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner import masking

# As keys are made, with what JSON, URLs and Python escape.
SECRETS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_categories=["Cs", "Cc"]), min_size=16, max_size=80
).filter(lambda text: len(text.strip()) >= 16 and len(set(text)) > 8)
AROUND = st.text(max_size=40)

WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON in Unicode": lambda text: json.dumps(text, ensure_ascii=False),
    "a URL": lambda text: quote(text, safe=""),
    "a URL with slashes": quote,
    "a form": quote_plus,
    "repr": repr,
    "bytes": lambda text: repr(text.encode()),
    "hex": lambda text: text.encode().hex(),
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    masking.forget()
    yield
    masking.forget()


def known(secret: str) -> None:
    masking.forget()
    masking.protect(secret)


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_no_way_of_writing_it_comes_through(
    written: Callable[[str], str], secret: str, before: str, after: str
) -> None:
    known(secret)
    form = written(secret)
    text = masking.masked(f"{before} {form} {after}")
    assert masking.MASK in text
    assert secret not in text
    assert form not in text
    assert len(text) <= len(f"{before} '' {after}") + len(masking.MASK) + 1  # no piece of it is left either


@given(secret=SECRETS, before=st.binary(max_size=20), after=st.binary(max_size=20), safe=st.booleans())
def test_base64_of_something_longer_doesnt_carry_it(secret: str, before: bytes, after: bytes, safe: bool) -> None:
    known(secret)
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    text = masking.masked(f"Authorization: {encode(before + secret.encode() + after).decode()}")
    assert masking.MASK in text
    rest = text.split(masking.MASK)
    # What is left around it decodes to none of its characters but those that share a character with a neighbour.
    assert sum(len(part) for part in rest) <= len("Authorization: ") + 4 * (len(before) + len(after)) // 3 + 12


@given(secret=SECRETS, data=st.data())
def test_what_is_left_of_a_cut_secret_doesnt_come_through(secret: str, data: st.DataObject) -> None:
    known(secret)
    start = data.draw(st.integers(0, len(secret) - 16))
    end = data.draw(st.integers(start + 16, len(secret)))
    text = masking.masked(f"GET failed: {secret[start:end]}…")
    assert secret[start:end] not in text
    assert masking.MASK in text


@given(secret=SECRETS, text=st.text(max_size=200))
def test_other_texts_stay_as_they_are(secret: str, text: str) -> None:
    known(secret)
    if secret not in text:
        assert masking.masked(text) == text


@given(several=st.lists(SECRETS, min_size=2, max_size=4, unique=True))
def test_several_beside_one_another_all_go(several: list[str]) -> None:
    masking.forget()
    for secret in several:
        masking.protect(secret)
    text = masking.masked("".join(several))
    assert not [secret for secret in several if secret in text]


def test_of_a_service_accounts_key_only_what_is_secret_goes() -> None:
    lines = [f"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC{number:032d}" for number in range(3)]
    pem = "\n".join(("-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""))
    account = "reader@acme-finops.iam.gserviceaccount.com"
    document = json.dumps({"type": "service_account", "client_email": account, "private_key": pem})
    known(document)
    text = masking.masked(f"403 for {account} with {lines[1]} of {json.dumps(pem)}, a service_account: {document}")
    assert account in text
    assert "a service_account" in text
    assert not [line for line in lines if line in text]
    assert document not in text


def test_a_large_field_takes_little_memory() -> None:
    largest = secrets.token_urlsafe(12 * 1024)
    masking.forget()
    tracemalloc.start()
    try:
        masking.protect(largest)
        assert largest[1_000:1_016] not in masking.masked(f"a piece: {largest[1_000:1_016]}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_prefixes_that_all_keys_share_stay_readable() -> None:
    known("sk-ant-admin01-" + "x9" * 20)
    assert masking.masked("expected a key that begins with sk-ant-admin01-") == (
        "expected a key that begins with sk-ant-admin01-"
    )
