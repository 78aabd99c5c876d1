"""The page at `/`: flows without a key, payloads and rejects with one, redriving; nothing from elsewhere, in light and dark."""

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front
from ingestion_assets_tests.frontdoor.instant_runs import failed, first_rejected, stored
from ingestion_assets_tests.servers import wait_until

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
BATCH = "/api/v1/ingest/batch"
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: install Debian's package `chromium` to run the tests of the page")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])


def _post(client: httpx.Client) -> None:
    lines = [{"type": "user", "uuid": str(uuid.uuid4())} for _ in range(3)]
    client.post(BATCH, json={"messages": lines})


@pytest.fixture(scope="module")
def seen(front: Front) -> str:
    """Payloads with every outcome; the text of a reason that would be markup."""
    with front.client() as client:
        for outcome in (stored, failed, first_rejected):
            front.runs.outcome = outcome
            _post(client)
        front.runs.outcome = stored
    return "the type is missing"


@pytest.fixture
def page(browser: Browser, front: Front, seen: str) -> Iterator[tuple[Page, list[str]]]:  # noqa: ARG001
    """The page, open; what it has asked for and what the browser complained of is in the list."""
    page = browser.new_page(viewport={"width": 1280, "height": 950})
    noted: list[str] = []
    page.on("request", lambda request: noted.append(request.url))
    page.on("console", lambda message: noted.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: noted.append(f"error: {error}"))
    page.goto(front.url)
    expect(page.get_by_role("heading", name="conversations")).to_be_visible()
    yield page, noted
    page.close()


def _enter(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Show").click()


def test_flows_show_without_a_key_and_payloads_do_not(page: tuple[Page, list[str]], front: Front) -> None:
    shown, noted = page
    card = shown.get_by_role("region", name="conversations")
    expect(card).to_contain_text("open rejects1")
    expect(card.get_by_role("link")).to_have_attribute(
        "href", "http://127.0.0.1:9/locations/ingestion_assets/asset-groups/conversations/lineage"
    )
    for name in front.app.door.flows:
        card = shown.get_by_role("region", name=name)
        expect(card.get_by_role("img")).to_have_attribute("aria-label", re.compile("in the last hour"))
        expect(card.locator("figcaption")).to_contain_text("in the last hour")
        card.get_by_text("A first request").click()
        expect(card.get_by_text(f'curl -sS -H "X-API-Key: $KEY" {front.url}/')).to_be_visible()
    expect(shown.get_by_role("heading", name="Newest payloads")).to_be_hidden()
    assert [one for one in noted if not one.startswith(front.url)] == [], "nothing of elsewhere, no complaint"


def test_a_key_shows_outcomes_and_redrives_a_reject(
    page: tuple[Page, list[str]], front: Front, seen: str
) -> None:
    shown, noted = page
    _enter(shown, ADMIN_TOKEN)
    receipts = shown.locator("#receipts tr")
    expect(receipts).to_have_count(3)
    expect(receipts.filter(has_text="failed")).to_contain_text("run_failed")
    row = shown.locator("#rejects tr").filter(has_text=seen)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for scheme in ("dark", "light"):
        shown.emulate_media(color_scheme=scheme)
        shown.screenshot(path=SCREENSHOTS / f"overview-{scheme}.png", full_page=True)
    row.get_by_role("button", name="Redrive").click()
    expect(row).to_contain_text("sent as ")
    receipt = row.get_by_role("status").inner_text().removeprefix("sent as ")
    with front.client() as client:
        assert client.get(f"/api/v1/receipts/{receipt}").status_code == 200
    assert all(one.startswith(front.url) and ADMIN_TOKEN not in one for one in noted)


def test_a_key_that_may_not_is_told_so(page: tuple[Page, list[str]], front: Front) -> None:
    shown, _ = page
    front.runs.outcome = first_rejected
    with front.client() as client:
        _post(client)
    front.runs.outcome = stored
    _enter(shown, "wrong")
    expect(shown.get_by_role("alert")).not_to_be_empty()
    expect(shown.get_by_role("heading", name="Newest payloads")).to_be_hidden()
    _enter(shown, front.key("read"))
    expect(shown.get_by_role("alert")).to_be_empty()
    row = shown.locator("#rejects tr").first
    row.get_by_role("button", name="Redrive").click()
    expect(shown.get_by_role("alert")).to_contain_text("admin")
    expect(row.get_by_role("button", name="Redrive")).to_be_enabled()


def test_keyboard_and_contrast(page: tuple[Page, list[str]]) -> None:
    """Every control is reached by Tab, has a name, and text has the contrast of WCAG AA (4.5) in light and dark."""
    shown, _ = page
    unnamed = "[...document.querySelectorAll('a,button,input,svg[role=img]')].filter(one => !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).length"
    assert shown.evaluate(unnamed) == 0
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.tagName") == "A"
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        assert shown.evaluate(_LEAST_CONTRAST) >= 4.5, scheme


_LEAST_CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = name => {
    let text = style.getPropertyValue(name).trim().slice(1);
    if (text.length === 3) text = [...text].map(one => one + one).join("");
    const parts = [0, 2, 4].map(at => parseInt(text.slice(at, at + 2), 16) / 255).map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const pairs = ["--text", "--soft", "--blue", "--green", "--red", "--amber"].flatMap(one => [[one, "--ground"], [one, "--card"]]);
  return Math.min(...pairs.map(([one, other]) => { const [a, b] = [light(one), light(other)]; return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));
}"""


def test_the_policy_allows_the_pages_own_script_alone(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers.get_list("content-security-policy") == [answer.headers["content-security-policy"]]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert client.get("/docs").headers.get_list("content-security-policy") == [
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    ]
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_the_figures_are_those_of_the_ledger(front: Front, seen: str) -> None:  # noqa: ARG001
    def ended() -> list[dict[str, float]]:
        with front.client(None) as client:
            flows = {flow["name"]: flow for flow in client.get("/api/v1/overview").json()["flows"]}
        assert flows.keys() == front.app.door.flows.keys()
        return flows["conversations"]["minutes"]

    wait_until(
        lambda: sum(one["payloads"] for one in ended()) >= 3, seconds=40, what="figures that are fresh"
    )
    assert sum(one["failed"] for one in ended()) == 1
    assert all(0 <= one["p50_s"] <= one["p95_s"] for one in ended())
