"""Where keys are sent: to the hosts that the installation lists, encrypted, whatever an integration says."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.api.address import base_address
from pipeline_runner.errors import ConfigError
from pipeline_runner.settings import api_settings
from support.api_client import api_client, ok, scripted

OFFICIAL = ["api.anthropic.com", "api.openai.com"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://api.openai.com", "expected https:// and a host"),
        ("api.openai.com", "expected https:// and a host"),
        ("https://", "expected https:// and a host"),
        ("", "expected https:// and a host"),
        ("https://api.openai.com:port", "got what isn't an address"),
        ("https://user:hunter2222@api.openai.com", "without a user or password"),
        ("https://api.openai.com?key=hunter2222", "without a query or fragment"),
        ("https://api.openai.com#hunter2222", "without a query or fragment"),
    ],
)
def test_what_is_no_address_for_a_key_is_refused_and_not_repeated(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"^source\.base_url: ") as caught:
        base_address(url, OFFICIAL)
    assert said in str(caught.value)
    assert "hunter2222" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://elsewhere.example/openai", "https://elsewhere.example"),
        ("https://elsewhere.example:8443", "https://elsewhere.example:8443"),
        ("http://api.openai.com", "http://api.openai.com"),
        ("https://api.openai.com:8443", "https://api.openai.com:8443"),
        ("http://api.openai.com:443", "http://api.openai.com:443"),
        ("https://api.openai.com.elsewhere.example", "https://api.openai.com.elsewhere.example"),
        ("https://api.openai.com.", "https://api.openai.com."),
        ("https://eu.api.openai.com", "https://eu.api.openai.com"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("https://xn--pi-openai-0nf.com", "https://"),
    ],
)
def test_no_other_host_gets_a_key(url: str, origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        base_address(url, OFFICIAL)
    assert f"source.base_url: no key is sent to {origin}" in str(caught.value)
    assert "only to https://api.anthropic.com, https://api.openai.com; " in str(caught.value)
    assert "PIPELINES_API_HOSTS (credentials.hosts of the chart)" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/", "api.openai.com"),
        ("https://API.OpenAI.com:443/x", "api.openai.com"),
        ("https://gateway.example:8443", "gateway.example:8443"),
        ("https://gateway.example:8443", "gateway.example:*"),
        ("http://pipelines-dev-services:9070/openai", "http://pipelines-dev-services:9070"),
        ("http://127.0.0.1:41234", "http://127.0.0.1:*"),
        ("http://[::1]:80/openai", "http://[::1]"),
    ],
)
def test_a_listed_host_gets_it(url: str, host: str) -> None:
    assert base_address(url, ["other.example", host]) == httpx2.URL(url.rstrip("/"))


HOSTS = st.sampled_from(["a.example", "b.example", "a.example.b.example", "[::1]"])
ORIGINS = st.tuples(st.sampled_from(["http", "https"]), HOSTS, st.sampled_from([None, 80, 443, 8443]))


@given(ORIGINS, ORIGINS)
def test_what_is_listed_is_exactly_what_gets_it(
    listed: tuple[str, str, int | None], asked: tuple[str, str, int | None]
) -> None:
    usual = {"http": 80, "https": 443}

    def text(origin: tuple[str, str, int | None]) -> str:
        scheme, host, port = origin
        return f"{scheme}://{host}" + (f":{port}" if port else "")

    same = [(scheme, host, port or usual[scheme]) for scheme, host, port in (listed, asked)]
    if same[0] == same[1]:
        base_address(text(asked), [text(listed)])
    else:
        with pytest.raises(ConfigError, match="no key is sent to"):
            base_address(text(asked), [text(listed)])


async def test_a_client_is_refused_before_it_can_send_anything() -> None:
    respond, requests = scripted(ok({}))
    with pytest.raises(ConfigError, match=r"no key is sent to https://elsewhere\.example"):
        api_client(respond, base_url="https://elsewhere.example")
    assert requests == []


def test_by_default_only_the_providers_own_hosts_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINES_API_HOSTS", raising=False)
    assert api_settings().hosts == OFFICIAL
    monkeypatch.setenv("PIPELINES_API_HOSTS", "gateway.example:8443, http://127.0.0.1:9070")
    assert api_settings().hosts == ["gateway.example:8443", "http://127.0.0.1:9070"]


@pytest.mark.parametrize(
    "wrong",
    ["https://a.example/v1", "*.example", "A.example", "user@a.example", "ftp://a", "a b", "a:70000", "[::z]"],
)
def test_a_wrong_list_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("PIPELINES_API_HOSTS", wrong)
    with pytest.raises(ConfigError, match=r"PIPELINES_API_HOSTS: .*expected HOST, HOST:PORT"):
        api_settings()


@pytest.mark.parametrize("entry", ["gateway.example:65536", "1.2.3.999", "https://", "Gateway.example", "a.example/v1"])
def test_an_entry_that_is_no_host_is_refused_before_any_run_asks(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("PIPELINES_API_HOSTS", entry)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        api_settings()


def test_port_0_isnt_the_usual_one() -> None:
    with pytest.raises(ConfigError, match="no key is sent to"):
        base_address("https://api.openai.com:0", OFFICIAL)
