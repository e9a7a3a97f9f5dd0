"""A run's credentials: plain files or an envelope; whatever can be wrong with them is told without a secret."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline_core.credentials.envelope import Envelope
from pipeline_runner import masking, sealing
from pipeline_runner.credentials import Credentials
from pipeline_runner.errors import ConfigError, TransientError
from pipeline_runner.settings import CredentialSettings, credential_settings
from support.kms_stand_in import KmsStandIn, kms_stand_in

KEY = "sk-admin-canary-5xQ2v9LrT7w"
FIELDS = {"api_key": KEY}
RING = "projects/p/locations/global/keyRings/pipelines/cryptoKeys"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    masking.forget()


class Mount:
    """The Secret's and the keyset's folder, as a pod has them."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "credentials"
        self.directory.mkdir()
        self.keyset = root / "keyset.json"
        self.settings = CredentialSettings(directory=self.directory, keyset=self.keyset)

    def put(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            (self.directory / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def seal(self, org: str = "acme", provider: str = "openai") -> Envelope:
        """An envelope for this organization and provider, in place, with its keyset."""
        self.keyset.write_text(sealing.new_keyset())
        envelope = sealing.seal_with_keyset(self.keyset.read_text(), org, provider, FIELDS)
        self.put({"envelope.json": envelope.to_json()})
        return envelope

    def credentials(self, org: str = "acme", provider: str = "openai", name: str | None = "acme-openai") -> Credentials:
        return Credentials(org, provider, settings=self.settings, secret_name=name)


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


@pytest.fixture
def kms() -> Iterator[KmsStandIn]:
    with kms_stand_in() as stand_in:
        yield stand_in


def refused(credentials: Credentials, field: str = "api_key") -> str:
    """Why the field can't be had; the message never holds the secret, nor does a chained error."""
    with pytest.raises(ConfigError) as caught:
        credentials.secret(field)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value)
    assert KEY not in message
    return message


async def test_a_plain_field_is_read_without_its_line_break_and_never_shown(mount: Mount) -> None:
    mount.put({"api_key": f"{KEY}\n"})
    (mount.directory / "..data").mkdir()
    credentials = mount.credentials()
    await credentials.prepare()
    secret = credentials.secret("api_key")
    assert secret.get_secret_value() == KEY
    assert KEY not in f"{secret} {secret!r}"
    assert masking.masked(f"401 for {KEY}") == "401 for [redacted]"


def test_what_is_missing_is_told_and_what_to_do(mount: Mount) -> None:
    expected = (
        "the Secret acme-openai isn't there in this namespace, or is empty; make it with pipelines credentials seal"
    )
    assert refused(mount.credentials()).startswith(expected)
    mount.put({"other": "something-else"})
    assert refused(mount.credentials()) == "the Secret acme-openai has no field api_key; it has other"


def test_a_local_folder_is_named_by_its_path(mount: Mount) -> None:
    assert refused(mount.credentials(name=None)) == f"{mount.directory} has no field api_key; it has none"
    nowhere = mount.settings.model_copy(update={"directory": mount.directory / "none"})
    message = refused(Credentials("acme", "openai", settings=nowhere))
    assert "the integration of acme with openai names no Secret" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "api_key is empty"),
        (b" \n", "api_key is empty"),
        (b"sk-1", "api_key is too short; expected at least 8 characters"),
        (b"\xff\xfe" + KEY.encode(), "api_key isn't text in UTF-8"),
        (b"k" * (64 * 1024 + 1), "api_key is larger than 64 KiB"),
    ],
)
def test_a_file_that_is_no_key_is_refused_where_it_is_asked_for(mount: Mount, content: bytes, expected: str) -> None:
    mount.put({"api_key": content, "other": "something-else"})
    credentials = mount.credentials()
    assert expected in refused(credentials)
    assert credentials.secret("other").get_secret_value() == "something-else"


def test_without_a_secret_there_need_be_no_field(mount: Mount) -> None:
    nowhere = mount.settings.model_copy(update={"directory": mount.directory / "none"})
    assert Credentials("acme", "gcp", settings=nowhere).secret_if_named("service_account.json") is None
    assert mount.credentials(name=None).secret_if_named("service_account.json") is None


@pytest.mark.parametrize("name", ["acme-gcp", None])
def test_a_secret_that_is_named_must_have_the_field(mount: Mount, name: str | None) -> None:
    mount.put({"api_key": KEY})
    found = mount.credentials(name=name).secret_if_named("api_key")
    assert found is not None
    assert found.get_secret_value() == KEY
    with pytest.raises(ConfigError, match=r"has no field service_account.json; it has api_key"):
        mount.credentials(name=name).secret_if_named("service_account.json")  # else the run would read as somebody else


def test_a_secret_that_is_named_must_be_there(mount: Mount) -> None:
    with pytest.raises(ConfigError, match="isn't there in this namespace"):
        mount.credentials().secret_if_named("service_account.json")


async def test_a_run_that_needs_none_isnt_held_up_by_a_missing_one(mount: Mount) -> None:
    credentials = mount.credentials()
    await credentials.prepare()
    assert "isn't there" in refused(credentials)


async def test_an_envelope_is_opened_with_the_keyset(mount: Mount) -> None:
    mount.seal()
    assert KEY not in (mount.directory / "envelope.json").read_text()
    credentials = mount.credentials()
    await credentials.prepare()
    assert credentials.secret("api_key").get_secret_value() == KEY
    assert KEY not in masking.masked(f"told {KEY} to a log")


def test_an_envelope_of_another_organization_or_provider_is_refused(mount: Mount) -> None:
    mount.seal("globex", "openai")
    assert "was sealed for globex with openai, this run is of acme with openai" in refused(mount.credentials())
    mount.seal("acme", "anthropic")
    assert "was sealed for acme with anthropic, this run is of acme with openai" in refused(mount.credentials())


@pytest.mark.parametrize("change", [{"org": "acme"}, {"provider": "openai"}])
def test_relabelling_an_envelope_doesnt_help(mount: Mount, change: dict[str, str]) -> None:
    other = {"org": "globex", "provider": "openai"} if "org" in change else {"org": "acme", "provider": "anthropic"}
    relabelled = mount.seal(**other).model_copy(update=change)
    mount.put({"envelope.json": relabelled.to_json()})
    assert "it was changed, or sealed for another organization or provider" in refused(mount.credentials())


def test_an_edited_byte_is_noticed_wherever_it_is(mount: Mount) -> None:
    sealed = mount.seal()
    for position in range(len(sealed.ciphertext)):
        edited = bytearray(sealed.ciphertext)
        edited[position] ^= 1
        mount.put({"envelope.json": sealed.model_copy(update={"ciphertext": bytes(edited)}).to_json()})
        assert "the Secret acme-openai can't be opened" in refused(mount.credentials())


def test_another_keyset_is_told_by_the_ids_of_its_keys(mount: Mount) -> None:
    sealed = mount.seal()
    mount.keyset.write_text(sealing.new_keyset())
    assert f"is sealed with the key {sealed.keyset_key_id}, the keyset of acme has" in refused(mount.credentials())
    mount.keyset.write_text("{}")
    assert "the keyset of acme: expected a Tink keyset in JSON" in refused(mount.credentials())
    mount.keyset.unlink()
    assert "acme has none here; make its Secret: pipelines credentials keyset acme" in refused(mount.credentials())


def test_a_rotated_keyset_opens_what_the_older_key_sealed(mount: Mount) -> None:
    older = mount.seal()
    mount.keyset.write_text(sealing.new_keyset(mount.keyset.read_text()))
    assert mount.credentials().secret("api_key").get_secret_value() == KEY
    newer = sealing.seal_with_keyset(mount.keyset.read_text(), "acme", "openai", FIELDS)
    assert newer.keyset_key_id != older.keyset_key_id
    mount.put({"envelope.json": newer.to_json()})
    assert mount.credentials().secret("api_key").get_secret_value() == KEY


def test_plain_fields_beside_an_envelope_are_refused(mount: Mount) -> None:
    mount.seal()
    mount.put({"api_key": KEY})
    assert "has api_key beside envelope.json" in refused(mount.credentials())


def test_plain_fields_are_refused_where_only_sealed_ones_are_taken(mount: Mount) -> None:
    mount.settings = mount.settings.model_copy(update={"sealed_only": True})
    mount.put({"api_key": KEY})
    expected = "the Secret acme-openai has api_key in plain, but this installation takes sealed credentials only"
    assert refused(mount.credentials()).startswith(expected)
    assert "pipelines credentials seal acme openai" in refused(mount.credentials())
    (mount.directory / "api_key").unlink()
    mount.seal()
    assert mount.credentials().secret("api_key").get_secret_value() == KEY


@pytest.mark.parametrize("endpoint", ["http://kms.example.com:80", "http://127.0.0.1.example.com", "ftp://127.0.0.1"])
def test_cloud_kms_is_never_asked_without_tls_over_a_network(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("PIPELINES_CREDENTIALS_KMS_ENDPOINT", endpoint)
    with pytest.raises(ConfigError, match=r"PIPELINES_CREDENTIALS_KMS_ENDPOINT: .*http:// only on this machine"):
        credential_settings()


@pytest.mark.parametrize("endpoint", ["kms.example.com:443", "https://kms.example.com", "http://127.0.0.1:4000"])
def test_cloud_kms_is_asked_where_the_installation_says(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("PIPELINES_CREDENTIALS_KMS_ENDPOINT", endpoint)
    assert credential_settings().kms_endpoint == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2}', '{"version": 1, "org": "acme", "provider": "openai", "ciphertext": "AAAA"}'],
)
def test_what_is_no_envelope_is_refused_by_its_fields(mount: Mount, text: str) -> None:
    mount.put({"envelope.json": text})
    assert "the Secret acme-openai: envelope.json" in refused(mount.credentials())


async def test_an_envelope_is_opened_with_the_organizations_key_of_cloud_kms(mount: Mount, kms: KmsStandIn) -> None:
    key = kms.add_key(f"{RING}/acme")
    mount.settings = mount.settings.model_copy(
        update={"kms_key": f"gcp-kms://{RING}/{{org}}", "kms_endpoint": kms.endpoint}
    )
    envelope = sealing.seal_with_kms(key, kms.endpoint, "acme", "openai", FIELDS)
    mount.put({"envelope.json": envelope.to_json()})
    kms.away = 2
    credentials = mount.credentials()
    await credentials.prepare()
    assert credentials.secret("api_key").get_secret_value() == KEY
    assert kms.calls == [f"Encrypt {RING}/acme", *[f"Decrypt {RING}/acme"] * 3]


def with_kms(mount: Mount, kms: KmsStandIn) -> Credentials:
    """Credentials sealed with acme's key, not yet opened."""
    key = kms.add_key(f"{RING}/acme")
    mount.settings = mount.settings.model_copy(update={"kms_key": f"{RING}/{{org}}", "kms_endpoint": kms.endpoint})
    mount.put({"envelope.json": sealing.seal_with_kms(key, kms.endpoint, "acme", "openai", FIELDS).to_json()})
    return mount.credentials()


def test_only_the_installations_key_opens(mount: Mount, kms: KmsStandIn) -> None:
    credentials = with_kms(mount, kms)
    another = kms.add_key(f"{RING}/globex")
    mount.put({"envelope.json": sealing.seal_with_kms(another, kms.endpoint, "acme", "openai", FIELDS).to_json()})
    assert f"is sealed with {another}, the key of acme is gcp-kms://{RING}/acme" in refused(credentials)
    assert not [call for call in kms.calls if call.startswith("Decrypt")]
    mount.settings = mount.settings.model_copy(update={"kms_key": ""})
    assert "this installation names no key of Cloud KMS" in refused(mount.credentials())
    mount.settings = mount.settings.model_copy(update={"kms_key": f"{RING}/all"})
    assert "PIPELINES_CREDENTIALS_KMS_KEY" in refused(mount.credentials())


def test_missing_rights_and_keys_are_for_a_person(mount: Mount, kms: KmsStandIn) -> None:
    credentials = with_kms(mount, kms)
    kms.denied.add(f"{RING}/acme")
    assert "grant cloudkms.cryptoKeyVersions.useToDecrypt on it" in refused(credentials)
    kms.denied.clear()
    kms.keys.clear()
    assert f"the Secret acme-openai: Cloud KMS can't decrypt with gcp-kms://{RING}/acme: 404" in refused(
        mount.credentials()
    )
    kms.add_key(f"{RING}/acme")
    assert "it was changed, or sealed with another key" in refused(mount.credentials())


def test_an_answer_that_was_damaged_on_its_way_is_asked_for_again(mount: Mount, kms: KmsStandIn) -> None:
    credentials = with_kms(mount, kms)
    kms.damaged = True
    with pytest.raises(TransientError, match="damaged on its way"):
        credentials.secret("api_key")
    kms.damaged = False
    kms.unverified = True
    with pytest.raises(TransientError, match="didn't get what it was sent"):
        sealing.seal_with_kms(f"gcp-kms://{RING}/acme", kms.endpoint, "acme", "openai", FIELDS)


def test_an_edited_byte_is_noticed_with_cloud_kms_too(mount: Mount, kms: KmsStandIn) -> None:
    with_kms(mount, kms)
    sealed = Envelope.parse((mount.directory / "envelope.json").read_text())
    for position in range(0, len(sealed.ciphertext), 3):
        edited = bytearray(sealed.ciphertext)
        edited[position] ^= 1
        mount.put({"envelope.json": sealed.model_copy(update={"ciphertext": bytes(edited)}).to_json()})
        assert "it was changed" in refused(mount.credentials())
