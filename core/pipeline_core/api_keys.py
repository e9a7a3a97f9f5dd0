"""Keys of the HTTP API: their form, their scopes, and what is stored of one.

A key is `plk_`, its id, `_` and its secret. The id is public and finds the row; of the secret only an HMAC-SHA-256 is
kept, with a pepper that the database doesn't have, so that what is in the database opens nothing. The secret has 256
random bits: a fast hash is enough, there is nothing to guess.
"""

import base64
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline_core import identifiers

KEY_ID = re.compile(r"[a-z0-9]{16}")
_KEY = re.compile(rf"plk_({KEY_ID.pattern})_([A-Za-z0-9_-]{{43}})")
_ID_ALPHABET = string.ascii_lowercase + string.digits
_ID_LENGTH = 16
_SECRET_BYTES = 32
_DIGEST_BYTES = 32
# What is longer may be a whole key, which errors must not show.
_ID_SHOWN_MAX = 32
_NAME_MAX = 100
_RATE_MAX = 1_000_000


class Scope(StrEnum):
    """What a key opens, within its organization."""

    RUN = "run"
    READ = "read"
    SCHEDULE = "schedule"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; `text` is shown to its owner once and kept nowhere."""

    key_id: str
    text: str = field(repr=False)
    digest: bytes = field(repr=False)


def make_key(pepper: bytes) -> NewKey:
    """A new random key."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    return NewKey(key_id=key_id, text=f"plk_{key_id}_{secret}", digest=digest(pepper, secret))


def parse_key(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key; None where the text isn't of the form of one."""
    found = _KEY.fullmatch(text)
    return None if found is None else (found[1], found[2])


def digest(pepper: bytes, secret: str) -> bytes:
    """What is stored of a secret, 32 bytes."""
    return hmac.digest(pepper, secret.encode(), hashlib.sha256)


def matches(pepper: bytes, secret: str, stored: bytes) -> bool:
    """Whether `stored` is the digest of the secret; the time it takes doesn't tell how much of it is."""
    return hmac.compare_digest(digest(pepper, secret), stored)


def allows(scopes: Collection[Scope], wanted: Scope) -> bool:
    """Whether a key with these scopes opens what `wanted` does: `admin` opens all."""
    return wanted in scopes or Scope.ADMIN in scopes


def check_key_id(key_id: str) -> None:
    """Raises ValueError, without the value where it is more than an id."""
    if not KEY_ID.fullmatch(key_id):
        given = f"key_id {key_id!r}" if len(key_id) <= _ID_SHOWN_MAX else "key_id"
        raise ValueError(f"{given}: expected the 16 lower-case letters and digits between plk_ and the next _ of a key")


def check_digest(stored: bytes) -> None:
    """Raises ValueError where it is no result of `digest`."""
    if len(stored) != _DIGEST_BYTES:
        raise ValueError(f"digest of {len(stored)} bytes: expected {_DIGEST_BYTES}")


def check_key(
    org_slug: str,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
) -> None:
    """Raises ValueError, naming the field, the value and what is expected."""
    if not identifiers.ORG_SLUG.fullmatch(org_slug):
        raise ValueError(f"org_slug {org_slug!r:.100} isn't of the form {identifiers.ORG_SLUG.pattern}")
    if not (0 < len(name) <= _NAME_MAX and name.isprintable()):
        raise ValueError(f"name {name!r:.100}: expected 1 to {_NAME_MAX} printable characters")
    if not scopes or not set(scopes) <= set(Scope):
        raise ValueError(f"scopes {', '.join(scopes)!r:.100}: expected one or more of {', '.join(Scope)}")
    if expires_at is not None and expires_at.tzinfo is None:
        raise ValueError(f"expires_at {expires_at}: expected a time with its offset from UTC")
    if requests_per_minute is not None and not 1 <= requests_per_minute <= _RATE_MAX:
        raise ValueError(f"requests_per_minute {requests_per_minute}: expected a whole number from 1 to {_RATE_MAX}")
