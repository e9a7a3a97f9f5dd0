"""A key of Cloud KMS as Tink's AEAD: wraps and unwraps the keys of envelopes.

Tink's own client takes no endpoint and doesn't compare checksums, so this one is over Google's client: every request
and answer carries CRC32C sums that are checked, as Cloud KMS recommends ("Verifying end-to-end data integrity").
"""

from urllib.parse import urlsplit

import google_crc32c
import grpc  # type: ignore[import-untyped]
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry, if_exception_type
from google.auth import exceptions as auth
from google.cloud import kms
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from tink import aead  # type: ignore[import-untyped]

from pipeline_core.credentials.names import KMS_SCHEME
from pipeline_runner.errors import ConfigError, TransientError

_CALL_SECONDS = 15.0
_RETRY_SECONDS = 60.0
_AWAY = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.ResourceExhausted,
    exceptions.InternalServerError,
    exceptions.Aborted,
    exceptions.Unknown,
)
_RETRY = Retry(predicate=if_exception_type(*_AWAY), initial=0.2, maximum=10.0, timeout=_RETRY_SECONDS)


class KmsAead(aead.Aead):  # type: ignore[misc]
    """Encrypts and decrypts remotely with `key`, `gcp-kms://projects/…/cryptoKeys/…`.

    `endpoint`: empty is Google's, `host:port` another one, `http://host:port` one without TLS and accounts. Both
    methods raise TransientError where another attempt may help, ConfigError where a person must act.
    """

    def __init__(self, key: str, endpoint: str = "") -> None:
        self._key = key
        self._name = key.removeprefix(KMS_SCHEME)
        try:
            self._client = _client(endpoint)
        except auth.DefaultCredentialsError as error:
            raise ConfigError(f"Cloud KMS: there are no credentials: {error}") from None

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        request = kms.EncryptRequest(
            name=self._name,
            plaintext=plaintext,
            additional_authenticated_data=associated_data,
            plaintext_crc32c=_sum(plaintext),
            additional_authenticated_data_crc32c=_sum(associated_data),
        )
        try:
            answer = self._client.encrypt(request=request, timeout=_CALL_SECONDS, retry=_RETRY)
        except (exceptions.GoogleAPIError, auth.GoogleAuthError) as error:
            raise self._explained(error, "encrypt") from None
        arrived = answer.verified_plaintext_crc32c and answer.verified_additional_authenticated_data_crc32c
        if not arrived or not answer.name.startswith(f"{self._name}/"):
            raise TransientError(f"Cloud KMS didn't get what it was sent to encrypt with {self._key}")
        self._compare(answer.ciphertext, answer.ciphertext_crc32c)
        return answer.ciphertext

    def decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        request = kms.DecryptRequest(
            name=self._name,
            ciphertext=ciphertext,
            additional_authenticated_data=associated_data,
            ciphertext_crc32c=_sum(ciphertext),
            additional_authenticated_data_crc32c=_sum(associated_data),
        )
        try:
            answer = self._client.decrypt(request=request, timeout=_CALL_SECONDS, retry=_RETRY)
        except (exceptions.GoogleAPIError, auth.GoogleAuthError) as error:
            raise self._explained(error, "decrypt") from None
        self._compare(answer.plaintext, answer.plaintext_crc32c)
        return answer.plaintext

    def _compare(self, content: bytes, said: int) -> None:
        if _sum(content) != said:
            raise TransientError(f"the answer of Cloud KMS with {self._key} was damaged on its way")

    def _explained(self, error: Exception, verb: str) -> ConfigError | TransientError:
        if isinstance(error, exceptions.RetryError):
            return TransientError(f"Cloud KMS was away for {_RETRY_SECONDS:g} s: {error.cause}")
        if isinstance(error, _AWAY) or (isinstance(error, auth.GoogleAuthError) and error.retryable):
            return TransientError(f"Cloud KMS is away: {error}")
        if isinstance(error, exceptions.Forbidden | exceptions.Unauthenticated):
            right = f"cloudkms.cryptoKeyVersions.useTo{verb.capitalize()}"
            return ConfigError(f"Cloud KMS refuses to {verb} with {self._key}: grant {right} on it: {error}")
        if isinstance(error, exceptions.InvalidArgument) and verb == "decrypt":
            return ConfigError(
                f"Cloud KMS can't open it with {self._key}: it was changed, or sealed with another key; seal it again"
            )
        return ConfigError(f"Cloud KMS can't {verb} with {self._key}: {error}")


def _client(endpoint: str) -> kms.KeyManagementServiceClient:
    if not endpoint:
        return kms.KeyManagementServiceClient()
    address = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    if address.scheme == "http":
        transport = KeyManagementServiceGrpcTransport(channel=grpc.insecure_channel(address.netloc))
        return kms.KeyManagementServiceClient(transport=transport)
    return kms.KeyManagementServiceClient(client_options=ClientOptions(api_endpoint=address.netloc))


def _sum(content: bytes) -> int:
    return int(google_crc32c.value(content))
