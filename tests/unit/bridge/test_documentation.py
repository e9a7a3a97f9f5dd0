"""/docs works without the Internet: every address is this process's own, and the browser is told to keep to them."""

import re

import pytest

from support.bridge import Bridge

ADDRESS = re.compile(r"""(?:src|href|url)\s*[=:]\s*["']([^"']*)["']""")


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_the_page_is_complete(bridge: Bridge, prefix: str) -> None:
    async with bridge.client() as client:
        page = await client.get(f"{prefix}/docs")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        start = await client.get(page.url.join("docs/start.js"))
        addresses = [found for text in (page.text, start.text) for found in ADDRESS.findall(text)]
        assert len(addresses) == 5
        kinds = {}
        for address in addresses:
            if not address.startswith("data:"):
                answer = await client.get(page.url.join(address))
                assert answer.status_code == 200, address
                kinds[address.rpartition("/")[2]] = answer.headers["content-type"].partition(";")[0]
        assert kinds == {
            "swagger-ui.css": "text/css",
            "swagger-ui-bundle.js": "text/javascript",
            "start.js": "text/javascript",
            "openapi.json": "application/json",
        }


async def test_no_other_host_is_named(bridge: Bridge) -> None:
    async with bridge.client() as client:
        for path in ("/docs", "/docs/start.js"):
            assert "//" not in (await client.get(path)).text


async def test_the_browser_is_told_to_load_nothing_else(bridge: Bridge) -> None:
    async with bridge.client() as client:
        page = await client.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert set(" ".join(policy.values()).split()) <= {"'none'", "'self'", "data:", "'unsafe-inline'"}
    assert "unsafe-inline" not in policy["script-src"]
    assert not re.search(r"<script>|<style|onload=|javascript:", page.text)


async def test_it_is_swagger_ui_5(bridge: Bridge) -> None:
    async with bridge.client() as client:
        script = (await client.get("/docs/assets/swagger-ui-bundle.js")).text
    assert re.search(r"PACKAGE_VERSION:\"5\.", script)


@pytest.mark.parametrize(
    "path", ["/docs/assets/../app.py", "/docs/assets/%2e%2e/__init__.py", "/docs/assets/", "/docs/x"]
)
async def test_nothing_else_is_served(bridge: Bridge, path: str) -> None:
    async with bridge.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
