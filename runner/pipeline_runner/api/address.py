"""Checks where a key may be sent to, and whether it can be sent at all."""

import ipaddress
import re

import httpx2
from pydantic import SecretStr

from pipeline_runner.errors import ConfigError

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_FIELD = "source.base_url"


def base_address(base_url: str, *, allow_http: bool) -> httpx2.URL:
    """The address without a slash at its end. Raises ConfigError naming source.base_url if no key may go there."""
    expected = "http:// or https:// and a host" if allow_http else "https:// and a host"
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        raise ConfigError(f"{_FIELD}: expected {expected}, got what isn't an address") from None
    if url.userinfo:
        # Not repeated here: a password may stand in it.
        raise ConfigError(f"{_FIELD}: expected an address without a user or password in it")
    if url.scheme == "http" and not allow_http:
        raise ConfigError(
            f"{_FIELD}: {base_url!r:.200} isn't encrypted, so no key is sent there; expected {expected} "
            "(PIPELINES_API_ALLOW_HTTP=true allows it, for local use)"
        )
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"{_FIELD}: expected {expected}, got {base_url!r:.200}")
    if "?" in base_url or "#" in base_url:
        raise ConfigError(f"{_FIELD}: expected an address without a query or fragment")
    return url.copy_with(path=url.path.rstrip("/"))


def is_loopback(url: httpx2.URL) -> bool:
    """Whether the address is this machine's own."""
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost" or url.host.endswith(".localhost")


def header_value(name: str, secret: SecretStr) -> str:
    """The secret as the header `name` carries it. Raises ConfigError, without it, if no header can."""
    value = secret.get_secret_value()
    if not _HEADER_VALUE.fullmatch(value):
        # The HTTP library would name the value in its own error.
        raise ConfigError(f"the credential for the header {name}: expected printable ASCII in one line, and some")
    return value
