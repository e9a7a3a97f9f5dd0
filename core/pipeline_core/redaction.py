"""Takes credentials out of texts by what they look like, or by the name that stands before them."""

import re
from typing import Final

REDACTED: Final = "[redacted]"

_NAMES = r"(?:password|passwd|secret|token|api[_-]?key|private[_-]?key)"
_FIELD = re.compile(rf"(?i)(?:^|[_-]){_NAMES}$")
_SETTING = re.compile(
    r"(?i)(?:password|passwd|secret|api[_-]?key|private[_-]?key)$"
    r"|^(?:(?:access|api|auth|bearer|personal|refresh|session)[_-]?)?token$"
)
_LOOKS = (
    # A key of the HTTP API, whole or cut; its id stays, and tells which one to revoke. Without \b: %3Dplk_… is one too.
    (re.compile(r"(plk_(?:[a-z0-9]{16}_)?+)[A-Za-z0-9_-]{8,}"), rf"\1{REDACTED}"),
    # postgresql://user:password@host; a password may hold a slash, if wrongly
    (re.compile(r"(?<=://)(?:[^/\s:@]{0,200}:[^\s\"'<>]{0,200}|[^/\s:@]{16,200})(?=@)"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{20,}"), rf"\1 {REDACTED}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
    # GitHub, GitLab, Slack, AWS, Google: keys that begin with letters of their own. A JSON Web Token: two JSON objects.
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|glpat-[A-Za-z0-9_-]{20,}"
            r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|A(?:KIA|SIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}"
            r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
        ),
        REDACTED,
    ),
    # OpenAI, Anthropic, Google; after %3D of an address as well
    (re.compile(r"(?:\b|(?<=_)|(?<=%3D))(?:sk-(?:ant-|proj-|admin-)?|ya29\.)[A-Za-z0-9_-]{16,}"), REDACTED),
)
_SHORT_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
# password=…, "token": "…", client_secret: …, and headers as servers have them: (b'x-api-key', b'…')
_NAMED = re.compile(rf"(?i)({_NAMES})([\"']?\s*[=:]\s*|[\"']\s*,\s*(?=b?[\"']))b?(?:\"[^\"]*\"|'[^']*'|[^\s,;&)}}]+)")


def is_credential_name(name: str) -> bool:
    """Whether a field of this name holds a credential: `password`, `client_secret`, `x-api-key`."""
    return _FIELD.search(name) is not None


def is_credential_setting(name: str) -> bool:
    """The same of a config's field: `clientSecret`, but not `page_token`, which tells how an API pages."""
    return _SETTING.search(name) is not None


def without_credentials(text: str) -> str:
    """`text` without what looks like a credential, whatever stands around it."""
    for pattern, replacement in _LOOKS:
        text = pattern.sub(replacement, text)
    return text


def without_named_credentials(text: str) -> str:
    """`text` without what looks like a credential, and without what follows the name of one.

    For logs: of sentences such as "token: expected a text" and "basic authentication" it takes a harmless word too.
    """
    text = _SHORT_HEADER.sub(rf"\1 {REDACTED}", without_credentials(text))
    return _NAMED.sub(rf"\1\2{REDACTED}", text)
