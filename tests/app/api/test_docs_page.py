"""The API page in a real browser that has no internet."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, sync_playwright

from tests.external_tools import require_tool
from tests.server_process import running_server

pytestmark = pytest.mark.slow

OFFLINE = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]  # fmt: skip
STRANGER = """() => {
  const script = document.createElement("script");
  script.textContent = "window.stranger = 1";
  document.body.append(script);
}"""


@pytest.fixture
def page() -> Iterator[Page]:
    chromium = require_tool("chromium", "chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OFFLINE)
        yield browser.new_page()
        browser.close()


def test_the_docs_page_works_offline_and_under_its_policy_and_its_example_gets_a_forecast(page: Page) -> None:
    asked: list[Request] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type in {"error", "warning"} else None)
    with running_server() as (server, _):
        shown = page.goto(f"{server.url}/docs")
        assert shown is not None
        assert "default-src 'none'" in shown.headers["content-security-policy"]
        page.locator("#operations-forecasts-predict_predict_post button.opblock-summary-control").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".responses-table.live-responses-table .response-col_description .microlight").first
        answer.wait_for(timeout=15_000)
        assert '"forecast"' in answer.inner_text()
        assert '"95"' in answer.inner_text()
        assert {request.url.split("/")[2] for request in asked if request.url.startswith("http")} == {
            server.url.removeprefix("http://")
        }
        assert errors == []
        page.evaluate(STRANGER)
        assert page.evaluate("window.stranger") is None
        [refused] = errors
        assert "Content Security Policy" in refused
