"""Checks where a key may be sent to, and whether it can be sent at all."""

import ipaddress
import re
from collections.abc import Iterable

import httpx2
from pydantic import SecretStr

from pipeline_runner.errors import ConfigError

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_FIELD = "source.base_url"
_EXPECTED = "expected https:// and a host"
_PORTS = {"http": 80, "https": 443}


def base_address(base_url: str, hosts: Iterable[str]) -> httpx2.URL:
    """The address without a slash at its end; `hosts` are the settings' (ApiSettings).

    An organization's integration may say the address, so that without the list whoever writes one could have keys sent
    to themselves. Raises ConfigError naming source.base_url if no key may go there; the address isn't repeated whole,
    as a password may stand in it.
    """
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        raise ConfigError(f"{_FIELD}: {_EXPECTED}, got what isn't an address") from None
    if url.userinfo:
        raise ConfigError(f"{_FIELD}: expected an address without a user or password in it")
    if url.scheme not in _PORTS or not url.host:
        raise ConfigError(f"{_FIELD}: {_EXPECTED}, got an address without one of them")
    if "?" in base_url or "#" in base_url:
        raise ConfigError(f"{_FIELD}: expected an address without a query or fragment")
    allowed = [each if "://" in each else f"https://{each}" for each in hosts]
    if not any(_covers(each, url) for each in allowed):
        raise ConfigError(
            f"{_FIELD}: no key is sent to {url.scheme}://{url.netloc.decode()}, only to {', '.join(allowed)}; the "
            f"installation lists hosts in PIPELINES_API_HOSTS (credentials.hosts of the chart)"
        )
    return url.copy_with(path=url.path.rstrip("/"))


def _covers(allowed: str, url: httpx2.URL) -> bool:
    """Whether the origin `allowed`, whose port may be `*`, is the address's."""
    origin = httpx2.URL(allowed.removesuffix(":*"))
    if (origin.scheme, origin.host) != (url.scheme, url.host):
        return False
    return allowed.endswith(":*") or _port(origin) == _port(url)


def _port(url: httpx2.URL) -> int:
    return _PORTS[url.scheme] if url.port is None else url.port


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
