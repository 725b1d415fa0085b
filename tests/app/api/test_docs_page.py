"""Tests of the docs page in a real browser without internet access."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, sync_playwright

from tests.external_tools import require_tool
from tests.server_process import running_server

pytestmark = pytest.mark.slow

OFFLINE = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]  # fmt: skip
INJECTED_SCRIPT = """() => {
  const script = document.createElement("script");
  script.textContent = "window.injected = 1";
  document.body.append(script);
}"""


@pytest.fixture
def page() -> Iterator[Page]:
    chromium = require_tool("chromium", "chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OFFLINE)
        yield browser.new_page()
        browser.close()


def test_docs_page_runs_its_example_offline_under_its_csp(page: Page) -> None:
    requests: list[Request] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type in {"error", "warning"} else None)
    with running_server() as (server, _):
        response = page.goto(f"{server.url}/docs")
        assert response is not None
        assert "default-src 'none'" in response.headers["content-security-policy"]
        page.locator("#operations-forecasts-predict_predict_post button.opblock-summary-control").click()
        page.get_by_role("button", name="Execute").click()
        response_body = page.locator(
            ".responses-table.live-responses-table .response-col_description .microlight"
        ).first
        response_body.wait_for(timeout=15_000)
        assert '"forecast"' in response_body.inner_text()
        assert '"95"' in response_body.inner_text()
        assert {request.url.split("/")[2] for request in requests if request.url.startswith("http")} == {
            server.url.removeprefix("http://")
        }
        assert errors == []
        page.evaluate(INJECTED_SCRIPT)
        assert page.evaluate("window.injected") is None
        [csp_error] = errors
        assert "Content Security Policy" in csp_error
