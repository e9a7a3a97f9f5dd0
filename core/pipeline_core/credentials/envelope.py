"""The envelope of sealed credentials: its document, and what its ciphertext is bound to."""

from typing import Annotated, Literal, Self

from pydantic import (
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline_core import identifiers
from pipeline_core.credentials import names

_FIELDS = TypeAdapter(dict[Annotated[str, StringConstraints(pattern=f"^{names.FIELD.pattern}$")], str])


class Envelope(BaseModel):
    """What a sealed Secret holds under `envelope.json`.

    `ciphertext` is Tink AEAD's, over the fields as JSON, `{"api_key": "…"}`, with `associated_data`. Its key is either
    `kms_key`, a key of Cloud KMS that wraps the data's own (Tink's KMS envelope), or the key `keyset_key_id` of the
    organization's keyset. `org` and `provider` only say what it was made for: what binds is the associated data.
    """

    # The input stays out of errors, though it is sealed: errors are kept longer than Secrets.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1] = 1
    org: Annotated[str, Field(pattern=f"^{identifiers.ORG_SLUG.pattern}$")]
    provider: Annotated[str, Field(pattern=f"^{identifiers.NAME.pattern}$")]
    kms_key: str | None = Field(default=None, exclude_if=lambda value: value is None)
    keyset_key_id: Annotated[int | None, Field(ge=0, lt=2**32, exclude_if=lambda value: value is None)] = None
    ciphertext: Base64Bytes

    @field_validator("kms_key")
    @classmethod
    def _is_a_key(cls, uri: str | None) -> str | None:
        try:
            return uri if uri is None else names.checked_kms_key(uri)
        except ValueError as error:
            raise PydanticCustomError("kms_key", "{why}", {"why": str(error)}) from None

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:  # noqa: N804 - it runs after, on the model itself
        if (self.kms_key is None) == (self.keyset_key_id is None):
            raise PydanticCustomError("one_key", "expected either kms_key or keyset_key_id")
        return self

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read the document. Raises ValueError that names the fields that are wrong, and none of their values."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(_wrong(error, "the envelope")) from None

    def to_json(self) -> str:
        """The document's text, the same for the same envelope."""
        return self.model_dump_json(indent=2) + "\n"


def parse_fields(plaintext: bytes) -> dict[str, str]:
    """What was sealed: names of fields, and their values. Raises ValueError that tells nothing of the contents."""
    try:
        return _FIELDS.validate_json(plaintext)
    except ValidationError:
        raise ValueError("what is sealed isn't a JSON object of fields and texts") from None


def associated_data(org_slug: str, provider: str) -> bytes:
    """What an envelope is bound to: opened for another organization or provider, it isn't authentic.

    Neither name can hold a line break, so no two pairs have the same.
    """
    return f"pipelines.dev/credentials/v1\norg={org_slug}\nprovider={provider}".encode()


def _wrong(error: ValidationError, whole: str) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or whole}: {each['msg']}" for each in error.errors())
