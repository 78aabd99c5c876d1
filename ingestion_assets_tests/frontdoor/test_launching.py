"""What the wake asks of a Dagster webserver: the flow's own job, where its definitions are, with the headers that are wanted there."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from ingestion_assets.frontdoor.dagster_graphql import DagsterError, dagster_client, is_location_loaded
from ingestion_assets.frontdoor.launching import GraphqlLauncher
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.flows import Flow, Keys
from ingestion_assets.settings import Settings, wrong_settings
from ingestion_assets_tests.environment import BEHIND_A_PROXY, environment
from ingestion_assets_tests.frontdoor.conftest import serving, settings_for
from ingestion_assets_tests.servers import wait_until

LOADED = {"__typename": "RepositoryLocation"}
ANSWERS = {
    "launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "r"}},
    "addDynamicPartition": {"__typename": "AddDynamicPartitionSuccess"},
    "reloadRepositoryLocation": {
        "__typename": "WorkspaceLocationEntry",
        "locationOrLoadError": LOADED,
    },
    "workspaceLocationEntryOrError": {
        "__typename": "WorkspaceLocationEntry",
        "loadStatus": "LOADED",
        "locationOrLoadError": LOADED,
    },
}
TOKEN = "Bearer of-the-front-door"
SHOP = Flow(name="shop", location="shop_code", repository="orders", partitions=Keys(name="stores"))


class Webserver:
    """Answers as Dagster's does; `lost`: how often it has no code location before; `broken`: locations that cannot be loaded."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.paths: set[str] = set()
        self.lost = 0
        self.broken: set[str] = set()

    def answer(self, path: str, authorization: str | None, question: dict[str, Any]) -> dict[str, Any]:
        self.paths.add(path)
        self.headers.append(authorization)
        self.asked.append(question)
        (field,) = (name for name in ANSWERS if name in question["query"])
        if field == "launchRun" and self.lost:
            self.lost -= 1
            return {"data": {field: {"__typename": "PipelineNotFoundError"}}}
        if question["variables"].get("location") in self.broken:
            wrong = {"__typename": "PythonError", "message": "SyntaxError"}
            return {"data": {field: ANSWERS[field] | {"locationOrLoadError": wrong}}}
        return {"data": {field: ANSWERS[field]}}


@pytest.fixture
def webserver() -> Iterator[tuple[Webserver, str]]:
    made = Webserver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(made.answer(self.path, self.headers["Authorization"], question)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made, f"http://127.0.0.1:{server.server_port}/prod"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_proxy_that_the_environment_names_is_for_other_machines(
    webserver: tuple[Webserver, str], tmp_path: Path
) -> None:
    made, url = webserver

    async def loaded() -> bool:
        async with dagster_client(_settings(tmp_path, webserver_url=url)) as dagster:
            return await is_location_loaded(dagster)

    with environment(**BEHIND_A_PROXY):
        launch = GraphqlLauncher(url=url, flow_of=lambda _: SHOP)
        launch(Dispatch(uuid4(), Lane("shop", "north", "north")))
        assert made.asked
        assert asyncio.run(loaded())


def _settings(tmp_path: Path, **given: str) -> Settings:
    return Settings(_env_file=None, home=tmp_path, **given)  # pyright: ignore


def test_a_flows_job_is_asked_for_where_it_is(webserver: tuple[Webserver, str], tmp_path: Path) -> None:
    made, url = webserver
    settings = _settings(tmp_path, dagster_headers=json.dumps({"Authorization": TOKEN}))
    launch = GraphqlLauncher(url=url, flow_of={"shop": SHOP}.get, headers=settings.headers_for_dagster)
    dispatch = Dispatch(uuid4(), Lane("shop", "17", "17"))
    launch(dispatch)
    added, launched = made.asked
    where = {"repositoryLocationName": "shop_code", "repositoryName": "orders"}
    assert added["variables"] == {"selector": where, "name": "stores", "key": "17"}
    assert launched["variables"]["params"]["selector"] == {**where, "jobName": "shop"}
    assert set(made.headers) == {TOKEN}
    assert made.paths == {"/prod/graphql"}
    launch(dispatch)
    assert len(made.asked) == 3  # the key is known


def test_our_location_is_loaded_again_when_it_is_gone_and_no_other_is_waited_for(
    webserver: tuple[Webserver, str],
) -> None:
    made, url = webserver
    notes = Flow(name="notes")
    launch = GraphqlLauncher(url=url, flow_of={"shop": SHOP, "notes": notes}.get)
    made.lost = 1
    launch(Dispatch(uuid4(), Lane("notes", "2026-01-31", "0")))
    reloads = [one["variables"] for one in made.asked if "reloadRepositoryLocation" in one["query"]]
    assert reloads == [{"location": "ingestion_assets"}]
    assert "launchRun" in made.asked[-1]["query"]
    made.lost = 1
    with pytest.raises(DagsterError):
        launch(Dispatch(uuid4(), Lane("shop", "17", "17")))
    assert len([one for one in made.asked if "reloadRepositoryLocation" in one["query"]]) == 1


def test_a_flow_that_is_not_there_is_said(webserver: tuple[Webserver, str]) -> None:
    made, url = webserver
    with pytest.raises(DagsterError, match="there is no flow shop"):
        GraphqlLauncher(url=url, flow_of={}.get)(Dispatch(uuid4(), Lane("shop", "17", "17")))
    assert not made.asked


def test_headers_that_are_none_are_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as wrong:
        _settings(tmp_path, dagster_headers="Bearer secret-token")
    said = wrong_settings(wrong.value)
    assert said is not None
    assert said.startswith("INGESTION_DAGSTER_HEADERS: ")
    assert "secret-token" not in said


def test_health_names_a_location_of_the_users_that_cannot_be_loaded(
    webserver: tuple[Webserver, str], tmp_path: Path, postgres_url: str
) -> None:
    made, url = webserver
    made.broken = {"shop"}
    settings = settings_for(
        home=tmp_path, postgres_url=postgres_url, webserver_url=url, modules="shop.definitions,books.code"
    )
    with serving(settings) as front, front.client() as client:

        def told() -> dict[str, Any]:
            return client.get("/health").json()["dependencies"]

        wait_until(lambda: "code_location_shop" in told(), seconds=30, what="health to name the location")
        parts = {name: one for name, one in told().items() if name.startswith("code_location")}
    assert parts.keys() == {"code_location", "code_location_shop", "code_location_books"}
    assert parts["code_location_shop"]["status"] == "down", parts
    assert "cannot load it" in str(parts["code_location_shop"])
    assert parts["code_location"]["status"] == parts["code_location_books"]["status"] == "up"
    asked = [one["variables"]["location"] for one in made.asked if "reloadRepositoryLocation" in one["query"]]
    assert set(asked) == {"shop"}
