"""Seals and opens envelopes of credentials with Tink's AEAD: by a local keyset, or a key of Cloud KMS."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tink  # type: ignore[import-untyped]
from tink import aead, json_proto_keyset_format, secret_key_access

from pipeline_core.credentials import names
from pipeline_core.credentials.envelope import Envelope, associated_data, parse_fields
from pipeline_runner import masking
from pipeline_runner.errors import ConfigError, ProcessorError
from pipeline_runner.settings import CredentialSettings

aead.register()

_TEMPLATE = aead.aead_key_templates.AES256_GCM
_AGAIN = "seal it again: pipelines credentials seal"


def new_keyset(older: str | None = None) -> str:
    """A keyset as Tink writes it in JSON: a new key, which seals from now on; those of `older` still open.

    Raises ValueError if `older` isn't a keyset.
    """
    made = json.loads(json_proto_keyset_format.serialize(tink.new_keyset_handle(_TEMPLATE), secret_key_access.TOKEN))
    if older is not None:
        _keyset(older)
        made["key"] = [*json.loads(older)["key"], *made["key"]]
        _keyset(json.dumps(made))
    return json.dumps(made, indent=2) + "\n"


def seal_with_keyset(keyset: str, org_slug: str, provider: str, fields: Mapping[str, str]) -> Envelope:
    """Seal with the keyset's primary key. Raises ValueError if it isn't a keyset."""
    handle = _keyset(keyset)
    sealed = handle.primitive(aead.Aead).encrypt(_plain(fields), associated_data(org_slug, provider))
    return _envelope(org_slug, provider, sealed, keyset_key_id=handle.keyset_info().primary_key_id)


def seal_with_kms(key: str, endpoint: str, org_slug: str, provider: str, fields: Mapping[str, str]) -> Envelope:
    """Seal with a new data key, which the key of Cloud KMS wraps. Raises what `kms.KmsAead` raises."""
    sealed = _by_kms(key, endpoint).encrypt(_plain(fields), associated_data(org_slug, provider))
    return _envelope(org_slug, provider, sealed, kms_key=key)


def opened(
    envelope: Envelope, org_slug: str, provider: str, settings: CredentialSettings, *, label: str
) -> dict[str, str]:
    """The sealed fields. `label` names the Secret in errors.

    Raises ConfigError, which says what is wrong and what to do, never what is inside; TransientError if Cloud KMS is
    away.
    """
    if (envelope.org, envelope.provider) != (org_slug, provider):
        made_for = f"was sealed for {envelope.org} with {envelope.provider}"
        raise ConfigError(
            f"{label} {made_for}, this run is of {org_slug} with {provider}; {_AGAIN} {org_slug} {provider}"
        )
    primitive = _opener(envelope, org_slug, settings, label)
    try:
        return parse_fields(primitive.decrypt(envelope.ciphertext, associated_data(org_slug, provider)))
    except tink.TinkError:
        # Tink doesn't say which, on purpose.
        raise ConfigError(
            f"{label} can't be opened: it was changed, or sealed for another organization or provider, or with another "
            f"key; {_AGAIN} {org_slug} {provider}"
        ) from None
    except ProcessorError as error:
        raise type(error)(f"{label}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{label}: {error}; {_AGAIN} {org_slug} {provider}") from None


def _opener(envelope: Envelope, org_slug: str, settings: CredentialSettings, label: str) -> aead.Aead:
    if envelope.kms_key is None:
        return _by_keyset(envelope, org_slug, settings.keyset, label)
    # The installation decides about keys: one that an envelope brings along might be anybody's.
    if not settings.kms_key:
        raise ConfigError(f"{label} is sealed with {envelope.kms_key}, but this installation names no key of Cloud KMS")
    try:
        expected = names.kms_key(settings.kms_key, org_slug)
    except ValueError as error:
        raise ConfigError(f"PIPELINES_CREDENTIALS_KMS_KEY: {error}") from None
    if envelope.kms_key != expected:
        raise ConfigError(
            f"{label} is sealed with {envelope.kms_key}, the key of {org_slug} is {expected}; {_AGAIN} {org_slug} "
            f"{envelope.provider} --kms-key {expected}"
        )
    return _by_kms(expected, settings.kms_endpoint)


def _by_kms(key: str, endpoint: str) -> aead.Aead:
    # Imported where it is needed: it takes half a second and 45 MB.
    from pipeline_runner.kms import KmsAead

    return aead.KmsEnvelopeAead(_TEMPLATE, KmsAead(key, endpoint))


def _by_keyset(envelope: Envelope, org_slug: str, path: Path, label: str) -> aead.Aead:
    try:
        content = path.read_bytes()[: names.MAX_FILE_BYTES]
    except OSError:
        raise ConfigError(
            f"{label} is sealed with a keyset, but {org_slug} has none here; make its Secret: pipelines credentials "
            f"keyset {org_slug} (and credentials.keysetSecret of the chart names it)"
        ) from None
    try:
        handle = _keyset(content.decode(errors="replace"))
    except ValueError as error:
        raise ConfigError(f"the keyset of {org_slug}: {error}") from None
    ids = [each.key_id for each in handle.keyset_info().key_info]
    if envelope.keyset_key_id not in ids:
        known = ", ".join(map(str, ids))
        raise ConfigError(
            f"{label} is sealed with the key {envelope.keyset_key_id}, the keyset of {org_slug} has {known}: "
            f"{_AGAIN} {org_slug} {envelope.provider} with the keyset that is there"
        )
    found: aead.Aead = handle.primitive(aead.Aead)
    return found


def _keyset(text: str) -> Any:
    """Tink's handle. Raises ValueError that tells nothing of the contents; its keys are masked from now on."""
    try:
        handle = json_proto_keyset_format.parse(text, secret_key_access.TOKEN)
        for key in json.loads(text)["key"]:
            masking.protect(key["keyData"]["value"])
        handle.primitive(aead.Aead)
    except (tink.TinkError, ValueError, KeyError, TypeError):
        raise ValueError("expected a Tink keyset in JSON, in cleartext, with an AEAD key") from None
    return handle


def _plain(fields: Mapping[str, str]) -> bytes:
    return json.dumps(dict(fields), ensure_ascii=False).encode()


def _envelope(org_slug: str, provider: str, ciphertext: bytes, **key: Any) -> Envelope:
    # Base64Bytes reads base64; the model is made without reading.
    return Envelope.model_construct(org=org_slug, provider=provider, ciphertext=ciphertext, **key)
