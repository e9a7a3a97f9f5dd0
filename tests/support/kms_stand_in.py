"""A small Cloud KMS: Encrypt and Decrypt over gRPC, with real AES-GCM behind them and the checksums of the real one."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import grpc  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud import kms

_SERVICE = "google.cloud.kms.v1.KeyManagementService"


@dataclass
class KmsStandIn:
    """`keys` are those there are; `denied` the ones that the caller has no right to.

    `away` is how many calls fail as unavailable before one is answered; `damaged` whether answers arrive changed;
    `unverified` whether it says that it compared no checksum.
    """

    endpoint: str = ""
    keys: dict[str, AESGCM] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    away: int = 0
    damaged: bool = False
    unverified: bool = False
    calls: list[str] = field(default_factory=list)

    def add_key(self, name: str) -> str:
        """Make a key; its URI."""
        self.keys[name] = AESGCM(AESGCM.generate_key(256))
        return f"gcp-kms://{name}"

    def encrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        key = self._key("Encrypt", request, context)
        data = request.additional_authenticated_data
        _compare(request.plaintext, request.plaintext_crc32c, context)
        _compare(data, request.additional_authenticated_data_crc32c, context)
        nonce = os.urandom(12)
        ciphertext = nonce + key.encrypt(nonce, request.plaintext, data)
        return kms.EncryptResponse(
            name=f"{request.name}/cryptoKeyVersions/1",
            ciphertext=ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext) ^ self.damaged,
            verified_plaintext_crc32c=not self.unverified,
            verified_additional_authenticated_data_crc32c=not self.unverified,
        )

    def decrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        key = self._key("Decrypt", request, context)
        data, sealed = request.additional_authenticated_data, request.ciphertext
        _compare(sealed, request.ciphertext_crc32c, context)
        _compare(data, request.additional_authenticated_data_crc32c, context)
        try:
            plaintext = key.decrypt(sealed[:12], sealed[12:], data)
        except (InvalidTag, ValueError):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Decryption failed: the ciphertext is invalid.")
        return kms.DecryptResponse(
            plaintext=plaintext, plaintext_crc32c=google_crc32c.value(plaintext) ^ self.damaged, used_primary=True
        )

    def _key(self, call: str, request: Any, context: grpc.ServicerContext) -> AESGCM:
        self.calls.append(f"{call} {request.name}")
        if self.away > 0:
            self.away -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        if request.name in self.denied:
            right = f"cloudkms.cryptoKeyVersions.useTo{call}"
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"Permission '{right}' denied on '{request.name}'")
        if request.name not in self.keys:
            context.abort(grpc.StatusCode.NOT_FOUND, f"CryptoKey {request.name} not found.")
        return self.keys[request.name]


@contextmanager
def kms_stand_in() -> Iterator[KmsStandIn]:
    """One that listens on a free port of the loopback, for as long as it is needed."""
    stand_in = KmsStandIn()
    methods = {
        "Encrypt": _handler(stand_in.encrypt, kms.EncryptRequest, kms.EncryptResponse),
        "Decrypt": _handler(stand_in.decrypt, kms.DecryptRequest, kms.DecryptResponse),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    stand_in.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield stand_in
    finally:
        server.stop(None).wait()


def _handler(call: Any, request: Any, response: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.deserialize, response_serializer=response.serialize
    )


def _compare(content: bytes, said: int | None, context: grpc.ServicerContext) -> None:
    if said is None or google_crc32c.value(content) != said:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The checksum in the request didn't match, or is missing.")
