"""Nothing counts as sent unless the front door itself says so: for every flow's sender alike."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ingestion_assets.sending.acknowledgement import (
    LONGEST_PAUSE_ASKED_S,
    Heard,
    holds_receipt,
    own_answer,
    retry_after_s,
)
from ingestion_assets.sending.cli import app
from ingestion_assets.sending.delivery import LONGEST_ANSWER
from ingestion_assets_tests.sending.peer import Answer, Odd

FLOWS = ("claude", "entities", "drupal")
INVENTORY = {"a": {"package": "Core", "display_name": "A (a)", "status": "Enabled", "version": "10.2.1"}}
_JSON = {"Content-Type": "application/json"}
ODD_ANSWERS = [
    Odd(200),
    Odd(200, b"[]", _JSON),
    Odd(200, b'"ok"', _JSON),
    Odd(200, b"null", _JSON),
    Odd(200, b"[" * 200_000, _JSON),
    Odd(200, b'{"id": 7, "state": "done", "stats": {}}', _JSON),
    Odd(202, b'{"id": ["a"], "state": ["done"]}', _JSON),
    Odd(202, json.dumps({"id": str(uuid.UUID(int=7)), "state": "landed"}).encode(), _JSON),
    Odd(200, b"no gzip", _JSON | {"Content-Encoding": "gzip"}),
    Odd(201, b"{}", _JSON),
    Odd(204),
    Odd(302, b"", {"Location": "https://login.example.com/?next=secret"}),
    Odd(307, b"", {"Location": "/elsewhere"}),
    Odd(308, b"", {"Location": "http://[not-an-address"}),
    *(Odd(status) for status in (400, 402, 403, 404, 407, 413, 418, 421, 422, 431, 451)),
    *(Odd(status) for status in (500, 507, 511, 520, 525, 529, 599)),
    Odd(400, b'{"error": "bad request"}', _JSON),
    Odd(503, b"{}", {"Retry-After": "Fri, 27 Nov 2026 17:08:41 -0000"}),
    Odd(503, b"{}", {"Retry-After": "99999999999"}),
]


@pytest.fixture
def send_to(tmp_path: Path) -> Callable[..., Result]:
    """Run a flow's command against an address, with one state file and one payload for each flow."""
    (tmp_path / "claude").write_text(json.dumps({"type": "user", "uuid": "u1", "sessionId": "s"}) + "\n")
    (tmp_path / "entities").write_text("C|1|Ann\n")
    (tmp_path / "drupal").write_text(json.dumps(INVENTORY))

    def run(flow: str, url: str, *arguments: str) -> Result:
        of_flow = {
            "claude": ["--state", str(tmp_path / "state.sqlite")],
            "entities": ["--state", str(tmp_path / "streams.json")],
            "drupal": ["--site", "1", "--at", "2026-03-01"],
        }[flow]
        command = [flow, "--url", url, "--key", "k", "--retry-for", "0.2s", "--json", *of_flow, *arguments]
        return CliRunner().invoke(app, [*command, str(tmp_path / flow)], catch_exceptions=False)

    return run


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    "odd", ODD_ANSWERS, ids=lambda odd: f"{odd.status} {odd.body[:12]!r} {[*odd.headers.values()]}"
)
def test_what_is_not_the_front_doors_answer_acknowledges_nothing(flow, odd, peer, send_to) -> None:
    peer.odd = odd
    ended = send_to(flow, peer.url)
    outage = odd.status >= 500 or "Content-Encoding" in odd.headers
    assert ended.exit_code == (3 if outage else 2), ended.output
    assert ("gave up" if outage else str(odd.status)) in ended.stderr
    assert "secret" not in ended.output
    peer.odd = None
    again = send_to(flow, peer.url)
    assert again.exit_code == 0, again.output
    if flow == "entities":
        assert b"C|1|Ann\n" in peer.streams.values()
    else:
        (request,) = peer.requests
        assert request.get("modules") or request["messages"][0]["uuid"] == "u1"


@pytest.mark.parametrize("flow", FLOWS)
def test_an_address_or_key_that_cannot_be_used_is_a_sentence_without_the_key(flow, send_to) -> None:
    for key in ("geheim\n", "ge\nheim", "geh\u00e9im", "geheim\x00", "geheim\r\nX: y"):
        ended = send_to(flow, "http://127.0.0.1:9", "--key", key)
        assert ended.exit_code == 2
        assert "API key" in ended.stderr
        assert "heim" not in ended.output
    for url in (
        "http://[::1",
        "http://127.0.0.1:port",
        "127.0.0.1:9",
        "ftp://127.0.0.1",
        "http://",
        "http://\x7f",
    ):
        ended = send_to(flow, url)
        assert ended.exit_code in {2, 3}, url
        assert ended.stderr.strip()
    ended = send_to(flow, "http://user:geheim@127.0.0.1:9")
    assert ended.exit_code == 3
    assert "geheim" not in ended.output


def test_once_the_front_door_was_found_foreign_answers_are_an_outage(send, peer, tmp_path) -> None:
    lines = [json.dumps({"type": "user", "uuid": f"u{n}"}) + "\n" for n in range(2)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    peer.script.extend(
        [Answer(503, {"Retry-After": "0"}), Answer(302), Answer(200), Answer(404, foreign=True)]
    )
    run = send(tmp_path / "a.jsonl")
    assert (run.status, run.summary["stored"]) == (0, 2)
    assert not peer.script


def test_a_proxy_that_takes_no_large_requests_gets_small_ones(send, peer, tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"type": "user", "uuid": f"u{n}"}) + "\n" for n in range(8))
    )
    peer.script.extend([Answer(413, foreign=True)] * 3)
    run = send(tmp_path / "a.jsonl")
    assert (run.status, run.summary["stored"], run.summary["requests"]) == (0, 8, 7)
    (tmp_path / "b.jsonl").write_text('{"type":"user","uuid":"b"}\n')
    peer.script.append(Answer(413, foreign=True))
    run = send(tmp_path / "b.jsonl")
    assert (run.status, run.summary["lines_sent"]) == (2, 0)
    assert "raise its limit" in run.errors or "larger" in run.errors
    assert send(tmp_path / "b.jsonl").summary["stored"] == 1


@pytest.mark.parametrize(
    "value", ["99999999999", "inf", "nan", "-5", "Fri, 27 Nov 2026 17:08:41 -0000", "soon"]
)
def test_follow_goes_on_whatever_retry_after_says(value, peer, tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"type":"user","uuid":"1"}\n')
    command = [
        sys.executable, "-c", "from ingestion_assets.sending.cli import app; app()", "claude", "--follow",
        "--state", str(tmp_path / "state.sqlite"), "--key", "k", str(tmp_path / "a.jsonl"), "--url",
    ]  # fmt: skip
    peer.odd = Odd(503, b"{}", {"Retry-After": value})
    sender = subprocess.Popen([*command, peer.url], stderr=subprocess.PIPE, text=True)
    assert sender.stderr is not None
    told = sender.stderr.readline()
    sender.terminate()
    rest = sender.communicate(timeout=20)[1]
    assert "HTTP 503" in told
    assert "trying again in" in told
    assert "Traceback" not in rest
    assert sender.returncode == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), ("1.5", 1.5), ("99999999999", LONGEST_PAUSE_ASKED_S), ("9" * 400, None),
        ("inf", None), ("nan", None), ("-1", None), ("1e3", None), ("", None), ("soon", None), ("\u0661", None),
        ("Fri, 27 Nov 2020 17:08:41 -0000", 0.0), ("Fri, 27 Nov 2020 17:08:41 GMT", 0.0),
        ("Fri, 27 Nov 2020 17:08:41 +9999", None), ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE_ASKED_S),
        ("Fri, 32 Nov 2020 17:08:41 GMT", None), ("Fri, 27 Nov 99999 17:08:41 GMT", None), ("1, 2", None),
    ],
)  # fmt: skip
def test_retry_after_in_every_form(value: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": value}) == seconds
    assert retry_after_s({}) is None


def test_only_a_receipt_that_the_headers_name_too_is_one() -> None:
    def heard(body: Any, **headers: str) -> Heard:
        return Heard(202, {"content-type": "application/json"} | headers, json.dumps(body).encode())

    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    landed = {"id": one, "state": "landed"}
    good = own_answer(heard(landed, location=f"/api/v1/receipts/{one}"), proof=holds_receipt)
    assert good is not None
    assert good.receipt == one
    result = own_answer(heard({"success": True}, **{"x-receipt-id": other}), proof=holds_receipt)
    assert result is not None
    assert result.receipt == other
    assert own_answer(heard(landed), proof=holds_receipt) is None
    assert own_answer(heard(landed, location=f"/api/v1/receipts/{other}"), proof=holds_receipt) is None
    assert own_answer(heard({"success": True}), proof=holds_receipt) is None


def test_an_answer_without_end_is_cut_off(peer, send_to) -> None:
    peer.odd = Odd(200, b" " * (LONGEST_ANSWER + 1))
    ended = send_to("claude", peer.url)
    assert (ended.exit_code, "without end" in ended.stderr) == (3, True)
