"""Lines of the access log."""

import json
import logging
import time
from collections.abc import Iterator

import pytest

from ingestion_assets.frontdoor.logs import JsonLine, TextLine
from ingestion_assets.frontdoor.middleware import told_path


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
def test_access_lines_tell_the_time_in_utc() -> None:
    assert time.localtime(0).tm_hour == 9
    record = logging.LogRecord("ingestion.access", logging.INFO, "", 0, "GET", None, None)
    record.created, record.msecs = 1.25, 250
    assert TextLine("%(asctime)s %(message)s").format(record) == "1970-01-01T00:00:01.250Z GET"
    assert json.loads(JsonLine().format(record))["timestamp"] == "1970-01-01T00:00:01.250Z"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/ingest/https://user:pass@example.com/a/b", "/ingest/https:/***@example.com/a/b"),
        ("/ingest/https:/user:pa/ss@example.com/a/b", "/ingest/https:/***@example.com/a/b"),
        ("/ingest/user:pass@localhost/a", "/ingest/***@localhost/a"),
        ("/ingest/token@example.com/a/b", "/ingest/***@example.com/a/b"),
        ("/repositories/example.com/a/b@main/files", "/repositories/example.com/a/b@main/files"),
        ("/ingest/a\nb\x1b[31m", "/ingest/a\\nb\\x1b[31m"),
    ],
)
def test_paths_are_told_in_one_line_without_passwords(path: str, told: str) -> None:
    assert told_path(path) == told
