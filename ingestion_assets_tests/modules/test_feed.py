"""What the feed may answer instead of a release history, and that nothing that was known is lost by it; against a real server."""

import http.server
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from ingestion_assets.modules import checks, feed
from ingestion_assets.modules.feed import Asked, Feed, ask_all, due
from ingestion_assets.modules.inventory import core_of, modules_of
from ingestion_assets.modules.releases import parse_history
from ingestion_assets.modules.security import judge_site, keep_history, sites_of_release
from ingestion_assets.modules.sync import RemovalGuard, apply_sync
from ingestion_assets_tests.modules.replay import incoming, make_site, module
from ingestion_assets_tests.modules.test_beside_requests import listening

HOURS = 3600
GOOD = (
    "<project><title>Shop</title><short_name>shop</short_name><supported_branches>2.</supported_branches>"
    "<project_status>published</project_status><releases>"
    "<release><version>2.0.4</version><status>published</status><terms><term><name>Release type</name><value>Security update</value></term>"
    "</terms></release><release><version>2.0.3</version><status>published</status><terms><term><name>Release type</name>"
    "<value>Insecure</value></term></terms></release></releases></project>"
)
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def says(content: str, *, status: int = 200, **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        encoded = content.encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(encoded)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(encoded)

    return answer


def breaks_off(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD)))
    handler.end_headers()
    handler.wfile.write(GOOD[:100].encode())
    handler.close_connection = True


BAD: dict[str, Answer] = {
    "no longer known": says("<error>No release history was found for the requested project (shop).</error>"),
    "404": says("Not found", status=404),
    "404 with a page": says("<!doctype html><title>Not found</title>", status=404),
    "HTML": says("<!doctype html><html><body>Please log in</body></html>"),
    "HTML without a type": says("<html><body><p>Be right back</body></html>"),
    "XML cut off": says(GOOD[:200]),
    "connection cut off": breaks_off,
    "another project": says(GOOD.replace("shop", "other")),
    "empty": says(""),
    "redirect": says("", status=302, Location="/login"),
    "JSON": says('{"releases": []}'),
    "no releases any more": says(GOOD[: GOOD.index("<releases>")] + "</project>"),
    "no content": says("", status=204),
    "forbidden": says("no", status=403),
    "304 to nothing": says("", status=304),
    "500": says("oops", status=500),
}


@pytest.fixture
def site(engine: sa.Engine) -> Iterator[int]:
    """A site with an insecure module of a project that is known."""
    made = make_site(engine)
    with engine.begin() as connection:
        apply_sync(connection, incoming(made, [module("shop", "2.0.3")]), guard=RemovalGuard())
        judge_site(connection, made, since=0)
    yield made


def ask(engine: sa.Engine, answer: Answer) -> Asked:
    """Ask for every project that is due, `shop` among them."""
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ingestion.module_projects SET ask_after = 'infinity' WHERE project <> 'shop'")
        )
        connection.execute(
            sa.text("UPDATE ingestion.module_projects SET ask_after = '-infinity' WHERE project = 'shop'")
        )
    with listening(answer) as url:
        source = Feed(base_url=url, per_second=1000)
        try:
            return ask_all(engine, due(engine, limit=10), ask=source.ask)
        finally:
            source.close()


def word(engine: sa.Engine, site_id: int) -> dict[str, Any]:
    with engine.connect() as connection:
        (found,) = modules_of(connection, site_id)
    return found["security"]


def asked_again_in_s(engine: sa.Engine) -> float:
    query = "SELECT extract(epoch FROM ask_after - clock_timestamp()) FROM ingestion.module_projects WHERE project = 'shop'"
    with engine.connect() as connection:
        return float(connection.execute(sa.text(query)).scalar_one())


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_a_bad_answer_keeps_the_last_word_marks_it_and_is_asked_again(
    engine: sa.Engine, site: int, answer: Answer
) -> None:
    assert ask(engine, says(GOOD)).changed == 1
    before = word(engine, site)
    assert (before["status"], before["stale"], before["feed_error"]) == ("not_secure", False, None)
    asked = ask(engine, answer)
    assert (set(asked.failed), asked.unknown) == ({"shop"}, 0)
    after = word(engine, site)
    assert (after["stale"], bool(after["feed_error"])) == (True, True)
    assert after | {"stale": False, "feed_error": None} == before
    assert 0 < asked_again_in_s(engine) <= 6 * HOURS
    with engine.connect() as connection:
        assert [one["site_id"] for one in sites_of_release(connection, "shop", "2.0.4")] == [site]
        results = {
            one.check_name: one for one in checks.check_feed(feed.state(connection), feed.stale(connection))
        }
    assert (results["feed_answers"].passed, results["words_are_fresh"].passed) == (True, False)
    assert "shop" in str(results["words_are_fresh"].metadata["projects"].value)
    assert ask(engine, says(GOOD)).changed == 1
    assert word(engine, site) == before | {"feed_answered_at": word(engine, site)["feed_answered_at"]}


def test_a_bad_answer_leaves_the_condition_of_the_next_question_as_it_was(
    engine: sa.Engine, site: int
) -> None:
    ask(engine, says(GOOD, ETag='"good"'))
    ask(engine, says("<error>unknown</error>", ETag='"bad"'))
    heard: list[str | None] = []

    def unmodified(handler: http.server.BaseHTTPRequestHandler) -> None:
        heard.append(handler.headers["If-None-Match"])
        handler.send_response(304)
        handler.end_headers()

    assert ask(engine, unmodified).unmodified == 1
    assert (heard, word(engine, site)["stale"]) == (['"good"'], False)


def test_a_project_that_was_never_known_is_asked_for_again_within_hours_then_more_seldom(
    engine: sa.Engine, site: int
) -> None:
    unknown = says("<error>unknown</error>", ETag='"1"')
    waits = []
    for _ in range(8):
        assert ask(engine, unknown).unknown == 1
        waits.append(round(asked_again_in_s(engine) / HOURS))
    assert waits == [6, 12, 24, 48, 96, 168, 168, 168]
    assert word(engine, site)["reason"] == "The feed does not know the project."
    assert ask(engine, says(GOOD)).changed == 1
    assert word(engine, site)["status"] == "not_secure"


def test_an_answer_of_who_stood_still_meanwhile_is_not_kept(engine: sa.Engine, site: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ingestion.module_projects SET ask_after = 'infinity' WHERE project <> 'shop'")
        )
    questions = due(engine, limit=10)
    old = parse_history(GOOD.replace("Insecure", "Bug fixes").encode())
    assert ask(engine, says(GOOD)).changed == 1
    late = ask_all(engine, questions, ask=lambda _: feed.Answer(history=old))
    assert (late.late, late.changed, word(engine, site)["status"]) == (1, 0, "not_secure")

    def fails(_: feed.Question) -> feed.Answer:
        raise feed.FeedError("it answered 500")

    assert ask_all(engine, questions, ask=fails).late == 1
    assert word(engine, site)["stale"] is False


def test_a_word_is_old_after_a_day_without_an_answer(engine: sa.Engine, site: int) -> None:
    ask(engine, says(GOOD))
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ingestion.module_projects SET answered_at = answered_at - interval '25 hours'")
        )
    assert (word(engine, site)["stale"], word(engine, site)["feed_error"]) == (True, None)


def test_a_release_that_no_index_could_hold_is_passed_over(engine: sa.Engine, site: int) -> None:
    long = "<release><version>2.0.5-" + "x" * 5000 + "</version><status>published</status></release>"
    assert ask(engine, says(GOOD.replace("<releases>", f"<releases>{long}"))).changed == 1
    assert word(engine, site)["status"] == "not_secure"


def test_core_without_a_sync_and_without_an_answer(engine: sa.Engine, site: int) -> None:
    empty = make_site(engine)
    with engine.begin() as connection:
        assert core_of(connection, empty)["reason"] == "No sync has said yet which Drupal runs."
        assert core_of(connection, site)["reason"] == "The feed has not answered for the project yet."
        drupal = GOOD.replace("shop", "drupal").replace("2.0.", "10.2.").replace(">2.<", ">10.<")
        keep_history(connection, parse_history(drupal.encode()), at=datetime.now(UTC))
        assert (core_of(connection, site)["status"], core_of(connection, site)["security_updates"]) == (
            "update_available", ["10.2.4"],
        )  # fmt: skip
