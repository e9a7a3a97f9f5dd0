"""Names of Secrets and keys: no two organizations share one, and what an envelope is bound to can't be confused."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_core.credentials import names
from pipeline_core.credentials.envelope import Envelope, associated_data, parse_fields
from pipeline_core.identifiers import NAME, ORG_SLUG

SLUGS = st.from_regex(ORG_SLUG, fullmatch=True)
PAIRS = st.tuples(SLUGS, st.from_regex(NAME, fullmatch=True).filter(lambda name: not name.endswith("_")))


@given(PAIRS, PAIRS)
def test_two_pairs_never_share_a_secret_or_what_their_envelope_is_bound_to(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    for made in (names.default_secret_name, associated_data):
        assert (made(*one) == made(*other)) == (one == other)


def test_underscores_at_the_joint_dont_collide() -> None:
    parts = ("a", "a_b", "a_b_c", "b", "b_c", "c", "a__b", "b__c")
    found = [names.default_secret_name(*pair) for pair in product(parts, parts)]
    assert len(set(found)) == len(found)


@given(PAIRS, SLUGS)
def test_a_secrets_name_is_its_own_organizations_alone(pair: tuple[str, str], other: str) -> None:
    org, provider = pair
    name = names.default_secret_name(org, provider)
    assert names.is_secret_of(name, org)
    assert names.is_secret_of(name, other) == (org == other)


@given(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), st.from_regex(r"[a-b_]{2,4}", fullmatch=True), SLUGS)
def test_no_name_at_all_is_two_organizations(tail: str, start: str, other: str) -> None:
    one = f"a{start}b"
    for name in (f"{names.dns_name(one)}-{tail}", f"{names.dns_name(one)}{tail}"):
        owners = {slug for slug in {one, other, one[:2], one[:3], "ab"} if names.is_secret_of(name, slug)}
        assert len(owners) <= 1


@pytest.mark.parametrize(
    ("name", "org", "expected"),
    [
        ("acme-openai", "acme", True),
        ("acme-gcp.v1", "acme", True),
        ("acme-0", "acme", True),
        ("acme--eu-openai", "acme", False),
        ("acme--eu-openai", "acme_eu", True),
        ("acme-eu-openai", "acme", True),
        ("acme-eu-openai", "acme_eu", False),
        ("acme", "acme", False),
        ("acme-", "acme", False),
        ("acmecorp-openai", "acme", False),
        ("acme.openai", "acme", False),
        ("globex-openai", "acme", False),
        ("Acme-openai", "acme", False),
    ],
)
def test_whose_a_name_is(name: str, org: str, expected: bool) -> None:
    assert names.is_secret_of(name, org) is expected


@given(SLUGS, SLUGS)
def test_each_organization_has_a_keyset_and_a_key_of_its_own(one: str, other: str) -> None:
    keyset, key = "pipelines-keyset-{org}", "projects/p/locations/global/keyRings/r/cryptoKeys/{org}"
    assert names.is_secret_name(names.keyset_secret_name(keyset, one))
    assert (names.keyset_secret_name(keyset, one) == names.keyset_secret_name(keyset, other)) == (one == other)
    assert (names.kms_key(key, one) == names.kms_key(key, other)) == (one == other)


def test_one_for_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \{org\} in it"):
        names.keyset_secret_name("pipelines-keyset", "acme")
    with pytest.raises(ValueError, match=r"expected \{org\} in it"):
        names.kms_key("projects/p/locations/l/keyRings/r/cryptoKeys/k", "acme")


@pytest.mark.parametrize(
    "uri", ["", "acme", "aws-kms://x", "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"]
)
def test_what_is_no_key_of_cloud_kms_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="isn't of the form gcp-kms://"):
        names.checked_kms_key(uri)


def test_an_envelopes_text_is_read_back_and_stays_the_same() -> None:
    envelope = Envelope.model_construct(org="acme", provider="openai", keyset_key_id=7, ciphertext=b"\x00sealed")
    assert Envelope.parse(envelope.to_json()) == envelope
    assert Envelope.parse(envelope.to_json()).to_json() == envelope.to_json()
    assert "kms_key" not in envelope.to_json()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"org": "acme", "provider": "openai", "ciphertext": "AA=="}', "expected either kms_key or keyset_key_id"),
        ('{"org": "Acme", "provider": "openai", "ciphertext": "AA==", "keyset_key_id": 1}', "org: "),
        ('{"org": "acme", "provider": "openai", "ciphertext": "canary", "keyset_key_id": 1}', "ciphertext: "),
        ('{"org": "acme", "provider": "openai", "ciphertext": "AA==", "kms_key": "k"}', "isn't of the form gcp-kms://"),
        (
            '{"org": "acme", "provider": "openai", "ciphertext": "AA==", "keyset_key_id": 1, "api_key": "canary"}',
            "api_key",
        ),
        ('"canary"', "the envelope: "),
    ],
)
def test_a_wrong_envelope_is_told_by_its_fields(text: str, word: str) -> None:
    with pytest.raises(ValueError) as caught:
        Envelope.parse(text)
    assert word in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("plaintext", [b"canary", b'["canary"]', b'{"api_key": 1}', b'{"Api Key": "canary"}', b"\xff"])
def test_what_was_sealed_is_checked_and_never_told(plaintext: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        parse_fields(plaintext)
    assert str(caught.value) == "what is sealed isn't a JSON object of fields and texts"
    assert caught.value.__suppress_context__
