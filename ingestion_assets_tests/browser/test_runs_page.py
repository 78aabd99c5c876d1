"""The Runs page as a person on call wants it: who launched each run, and more than a few of them on a screen."""

import httpx
from playwright.sync_api import expect

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.stacks import RunningStack

WIDTH, HEIGHT = 1920, 950
"""A window on a screen of 1920 by 1080. On a narrow one the partition takes a line of its own: eight runs."""
RUNS = 12


def _line(number: int) -> dict[str, object]:
    at = f"2026-01-31T12:00:{number:02}Z"
    return {
        "type": "user", "uuid": f"runs-page-{number}", "sessionId": "runs-page", "timestamp": at, "cwd": "/home/dev/projects/site",
        "message": {"role": "user", "content": "hello"},
    }  # fmt: skip


def test_a_screen_shows_ten_runs_and_who_launched_them(ui: DagsterUI, stack: RunningStack) -> None:
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=60) as client:
        for number in range(RUNS):  # whoever waits has the lane's next run at once
            answer = client.post("/api/v1/ingest/message", json=_line(number), headers={"Prefer": "wait=50"})
            assert answer.status_code == 200, answer.text
    ui.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    ui.open_run("")
    expect(ui.page.get_by_text("conversations_landed").nth(9)).to_be_visible()
    ui.keep("runs")
    shown = ui.page.get_by_text("conversations_landed").all()
    boxes = [box for one in shown if (box := one.bounding_box())]
    assert sum(box["y"] + box["height"] <= HEIGHT for box in boxes) >= 10
    for hidden in ("ingestion_dispatch", "ingestion_lane", "ingestion/", "task_id", "celery"):
        assert ui.page.get_by_text(hidden).count() == 0, hidden
