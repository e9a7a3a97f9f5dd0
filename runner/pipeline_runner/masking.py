"""Masks the secrets that this process knows, in texts on their way to logs, outcomes and people.

The last line of defence: no part should put a secret into a text. It finds a secret as it is, as JSON, URLs, Python and
base64 write it, and pieces of it, as messages are cut.
"""

import base64
import json
import re
import threading
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
# What is shorter can't be masked without defacing texts that only happen to hold it.
SHORTEST_SECRET = 8
# A piece of a secret of this many characters is one, too; words and the prefixes of keys are shorter.
_PIECE = 16
# Within a field that is a JSON document, such as a service account's key: these are secret, addresses aren't.
_SECRET_MEMBER = re.compile(r"(?i)(private_key|secret|token|password|api[_-]?key)$")

# Pieces are looked up by a bit of their hash, and then in the forms themselves: a set of the pieces of a large field
# would take a thousand times its size.
_BITS = 2**23

_whole: set[str] = set()
# Replaced, never changed: one thread may write a line of the log while another reads the next secret.
_in_pieces: tuple[str, ...] = ()
_seen = bytearray(_BITS // 8)
_adding = threading.Lock()


def protect(secret: str) -> None:
    """Mask `secret` from now on, in whatever this process writes through `masked`.

    Of a JSON object only the members that are secret, and the object as a whole.
    """
    members = _secret_members(secret)
    with _adding:
        if members is None:
            _add(secret, in_pieces=True)
            return
        _add(secret, in_pieces=False)
        for member in members:
            _add(member, in_pieces=True)


def masked(text: str) -> str:
    """`text` without any secret that is known."""
    for form in sorted(_whole, key=len, reverse=True):
        if form in text:
            text = text.replace(form, MASK)
    if not _in_pieces or len(text) < _PIECE:
        return text
    kept: list[str] = []
    end = 0
    while (position := _next_piece(text, end)) is not None:
        kept += text[end:position], MASK
        while position <= len(text) - _PIECE and _is_piece(text[position : position + _PIECE]):
            position += 1
        end = position + _PIECE - 1
    return "".join((*kept, text[end:]))


def forget() -> None:
    """Forget all secrets: a process that goes on after its run, as tests do."""
    global _in_pieces
    with _adding:
        _whole.clear()
        _in_pieces = ()
        _seen[:] = bytes(len(_seen))


def _next_piece(text: str, start: int) -> int | None:
    for position in range(start, len(text) - _PIECE + 1):
        bit = hash(text[position : position + _PIECE]) % _BITS
        # here and not by a call, which would take most of the time
        if _seen[bit >> 3] >> (bit & 7) & 1 and _is_piece(text[position : position + _PIECE]):
            return position
    return None


def _is_piece(text: str) -> bool:
    return any(text in form for form in _in_pieces)


def _add(secret: str, *, in_pieces: bool) -> None:
    global _in_pieces
    # A line of a longer secret, such as a key in PEM, is as good as a piece of it.
    parts = {secret, *(line for line in secret.splitlines() if not line.startswith("-----"))} if in_pieces else {secret}
    for part in parts:
        if len(part) < SHORTEST_SECRET:
            continue
        for form in _forms(part):
            _whole.add(form)
            if in_pieces and form not in _in_pieces:
                _in_pieces = (*_in_pieces, form)
                for start in range(len(form) - _PIECE + 1):
                    bit = hash(form[start : start + _PIECE]) % _BITS
                    _seen[bit >> 3] |= 1 << (bit & 7)


def _forms(secret: str) -> set[str]:
    """How a secret is written where texts hold it."""
    raw = secret.encode()
    escaped = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        *escaped,
        *(re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), each) for each in escaped),
        raw.hex(),
        *_in_base64(raw),
    }


def _in_base64(raw: bytes) -> set[str]:
    """What base64 makes of it within anything longer: the characters that depend on it alone, of each alignment."""
    found = set()
    for before in range(3):
        first, end = (before * 8 + 5) // 6, (before + len(raw)) * 8 // 6
        text = base64.b64encode(b"\0" * before + raw)[first:end].decode()
        found |= {text, text.replace("+", "-").replace("/", "_")}
    return found


def _secret_members(text: str) -> list[str] | None:
    """The secret texts of a JSON object, at any depth; None if it isn't one."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    members, left = [], [found]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            members += [value for key, value in each.items() if isinstance(value, str) and _SECRET_MEMBER.search(key)]
            left += each.values()
        elif isinstance(each, list):
            left += each
    return members
