"""The credentials of a run: the fields of the Secret that its organization's integration names.

Kubernetes mounts the Secret as files into the runner's container and nowhere else. They are plain fields, or one
envelope, which is opened with a key of the organization's own.
"""

from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from pipeline_core.credentials import names
from pipeline_core.credentials.envelope import Envelope
from pipeline_runner import masking
from pipeline_runner.bigquery.threads import in_thread
from pipeline_runner.errors import ConfigError, ProcessorError
from pipeline_runner.settings import CredentialSettings, credential_settings


class Credentials:
    """What a processor reads with. Nothing is read before it is asked for, or `prepare` is called."""

    def __init__(
        self,
        org_slug: str,
        provider: str,
        *,
        settings: CredentialSettings | None = None,
        secret_name: str | None = None,
    ) -> None:
        self._org_slug = org_slug
        self._provider = provider
        self._given_settings = settings
        self._secret_name = secret_name
        self._fields: dict[str, SecretStr | ConfigError] | None = None
        self._error: ProcessorError | None = None

    async def prepare(self) -> None:
        """Read and open them without holding up the event loop; what is wrong is told when a field is asked for."""
        with suppress(ProcessorError):  # kept: a processor that needs none isn't held up by them
            await in_thread(self._all)

    def secret(self, field: str) -> SecretStr:
        """The value of a field, such as `api_key`.

        Raises ConfigError, naming the Secret, the field and what is expected; TransientError if Cloud KMS is away.
        """
        fields = self._all()
        if self._secret_name is None and not self._settings.directory.is_dir():
            raise ConfigError(self._unnamed(field))
        found = fields.get(field)
        if found is None:
            there = f"it has {', '.join(sorted(fields))}" if fields else "it has none"
            raise ConfigError(f"{self._label} has no field {field}; {there}")
        if isinstance(found, ConfigError):
            raise found
        return found

    def secret_if_named(self, field: str) -> SecretStr | None:
        """The value of a field, None only if the integration names no Secret, and no local folder holds anything.

        Raises what `secret` raises: a Secret that lacks the field would let the run read as somebody else.
        """
        return self.secret(field) if self._secret_name is not None or self._all() else None

    @property
    def _label(self) -> str:
        return f"the Secret {self._secret_name}" if self._secret_name else str(self._settings.directory)

    @property
    def _settings(self) -> CredentialSettings:
        if self._given_settings is None:
            self._given_settings = credential_settings()
        return self._given_settings

    def _all(self) -> dict[str, SecretStr | ConfigError]:
        if self._error is not None:
            raise self._error
        if self._fields is None:
            try:
                self._fields = self._read()
            except ProcessorError as error:
                self._error = error
                raise
        return self._fields

    def _read(self) -> dict[str, SecretStr | ConfigError]:
        texts = {path.name: self._text(path) for path in _files(self._settings.directory)}
        if not texts and self._secret_name is not None:
            # The mount is optional, so that the run starts and can say what is missing.
            raise ConfigError(
                f"{self._label} isn't there in this namespace, or is empty; make it with pipelines credentials seal, "
                f"or kubectl create secret generic {self._secret_name} --from-file=FIELD=FILE"
            )
        envelope = texts.pop(names.ENVELOPE_FILE, None)
        if envelope is not None:
            if texts:
                raise ConfigError(
                    f"{self._label} has {', '.join(sorted(texts))} beside {names.ENVELOPE_FILE}; take the plain fields "
                    f"out: what is sealed shouldn't stand beside it in plain"
                )
            texts = dict(self._opened(envelope))
        elif texts and self._settings.sealed_only:
            raise ConfigError(
                f"{self._label} has {', '.join(sorted(texts))} in plain, but this installation takes sealed "
                f"credentials only (PIPELINES_CREDENTIALS_SEALED_ONLY): pipelines credentials seal {self._org_slug} "
                f"{self._provider}"
            )
        return {name: self._field(name, text) for name, text in texts.items()}

    def _text(self, path: Path) -> str | ConfigError:
        """A file's text, or what is wrong with it."""
        limit = names.MAX_FILE_BYTES
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            return ConfigError(f"{self._label}: {path.name} can't be read: {error.strerror}")
        if len(content) > limit:
            return ConfigError(f"{self._label}: {path.name} is larger than {limit // 1024} KiB, which no key is")
        try:
            return content.decode()
        except UnicodeDecodeError:
            return ConfigError(f"{self._label}: {path.name} isn't text in UTF-8")

    def _field(self, name: str, text: str | ConfigError) -> SecretStr | ConfigError:
        if isinstance(text, ConfigError):
            return text
        value = text.rstrip("\r\n")  # files that Secrets are made from often end with a line break
        if len(value.strip()) < masking.SHORTEST_SECRET:
            size = f"at least {masking.SHORTEST_SECRET} characters"
            return ConfigError(f"{self._label}: {name} is {'too short' if value.strip() else 'empty'}; expected {size}")
        masking.protect(value)
        return SecretStr(value)

    def _opened(self, envelope: str | ConfigError) -> dict[str, str]:
        if isinstance(envelope, ConfigError):
            raise envelope
        # Imported where it is needed: most runs have plain fields, and Tink takes a tenth of a second.
        from pipeline_runner import sealing

        try:
            sealed = Envelope.parse(envelope)
        except ValueError as error:
            raise ConfigError(f"{self._label}: {names.ENVELOPE_FILE}: {error}") from None
        return sealing.opened(sealed, self._org_slug, self._provider, self._settings, label=self._label)

    def _unnamed(self, field: str) -> str:
        who = f"{self._org_slug} with {self._provider}"
        return (
            f"the field {field} is needed, but the integration of {who} names no Secret; name it with pipelines "
            f"integration set --credential-secret NAME (for pipelines run --local: --credentials DIRECTORY)"
        )


def _files(directory: Path) -> list[Path]:
    """The Secret's keys, as files; Kubernetes' own entries begin with two dots."""
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError:
        return []
