"""Whom Dagster's webserver serves, asked of the real one."""

import asyncio
import socket
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ingestion_assets.frontdoor.dagster_graphql import DagsterError
from ingestion_assets.frontdoor.launching import GraphqlLauncher
from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.drops import Lane
from ingestion_assets.settings import Settings
from ingestion_assets.webserver.__main__ import is_open
from ingestion_assets.webserver.guard import ConfigurationError, Rules

VERSION = "{ version }"
MUTATION = (
    'mutation { logTelemetry(action: "a", clientTime: "1", clientId: "c", metadata: "{}") { __typename } }'
)
SUBSCRIPTION = "subscription { locationStateChangeEvents { event { message } } }"


def _get(url: str, query: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{url}/graphql", params={"query": query}, headers=_named(headers), timeout=30)


def _post(url: str, query: str = MUTATION, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/graphql", json={"query": query}, headers=_named(headers), timeout=30)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _refused(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert "data" not in answer.json()


def _raw(url: str, text: str) -> str:
    """The status line of the answer to a request written by hand."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        return connection.recv(65536).decode(errors="replace").split("\r\n")[0]


def test_a_client_that_is_no_browser_asks_and_changes(bare: str) -> None:
    assert _get(bare, VERSION).json()["data"]["version"]
    assert "errors" not in _post(bare).json()
    assert _post(bare).json()["data"]["logTelemetry"]["__typename"] == "LogTelemetrySuccess"


def test_the_ui_itself_asks_and_changes(bare: str) -> None:
    same = {"Origin": bare, "Sec_Fetch_Site": "same-origin"}
    assert _post(bare, **same).json()["data"]["logTelemetry"]
    page = httpx.get(bare, headers={"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, timeout=30)
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    assert page.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:3000",
        "0.0.0.0:3000",
        "[::1",
        "",
        "a@b",
    ],
)
def test_a_name_that_is_not_ours_is_refused(bare: str, host: str) -> None:
    _refused(_post(bare, Host=host), 421)
    _refused(_get(bare, VERSION, Host=host), 421)
    _refused(httpx.get(f"{bare}/server_info", headers={"Host": host}, timeout=30), 421)


@pytest.mark.parametrize(
    "host",
    ["localhost:1", "LOCALHOST", "127.0.0.5", "[::1]:3000", "webserver:3000", "Dagster.example.com", "other.example.net:443"],
)  # fmt: skip
def test_our_names_are_loopback_the_configured_addresses_and_the_listed(bare: str, host: str) -> None:
    assert _post(bare, Host=host).status_code == 200


def test_one_request_names_one_host(bare: str) -> None:
    line = _raw(bare, "GET /server_info HTTP/1.1\nHost: localhost\nHost: evil.example\n\n")
    assert " 400 " in line
    assert " 400 " in _raw(bare, "GET /server_info HTTP/1.0\n\n")


@pytest.mark.parametrize(
    "query", [MUTATION, f"query A {{ version }} {MUTATION}", f"# {VERSION}\n{MUTATION}", SUBSCRIPTION]
)
def test_nothing_but_a_query_comes_by_get(bare: str, query: str) -> None:
    _refused(_get(bare, query), 405)
    _refused(_get(bare, query, Accept="text/html"), 405)
    _refused(httpx.get(f"{bare}/graphql", params=[("query", query), ("query", VERSION)], timeout=30), 405)
    _refused(httpx.get(f"{bare}/graphql/", params={"query": query}, timeout=30), 405)


def test_what_is_no_graphql_is_said_to_be_none(bare: str) -> None:
    _refused(_get(bare, "mutation {"), 400)
    _refused(_get(bare, "{" * 3000), 400)


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "text/plain", "text/plain; application/json", "application/graphql",
     "multipart/form-data; boundary=application/json", ""],
)  # fmt: skip
def test_what_changes_something_is_json(bare: str, kind: str) -> None:
    for path in ("/graphql", "/report_asset_materialization/a"):
        answer = httpx.post(
            f"{bare}{path}",
            params={"query": MUTATION},
            content=b"{}",
            headers={"Content-Type": kind},
            timeout=30,
        )
        _refused(answer, 415)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://", "http://[x"],
)
def test_a_page_of_another_site_asks_nothing(bare: str, origin: str) -> None:
    _refused(_post(bare, Origin=origin), 403)
    _refused(_get(bare, VERSION, Origin=origin), 403)
    _refused(httpx.options(f"{bare}/graphql", headers={"Origin": origin}, timeout=30), 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_tells_only_the_site_is_believed(bare: str, site: str) -> None:
    _refused(_post(bare, Sec_Fetch_Site=site), 403)
    _refused(_get(bare, VERSION, Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate"), 403)
    image = httpx.get(
        f"{bare}/runs", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}, timeout=30
    )
    _refused(image, 403)
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert httpx.get(f"{bare}/runs/1", headers=followed, timeout=30).status_code == 200


def test_pages_of_the_public_address_ask_through_their_proxy(bare: str) -> None:
    assert _post(bare, Origin="https://dagster.example.com", Host="webserver:3000").status_code == 200
    assert _post(bare, Origin="https://ui.example.net:8443").status_code == 200


async def _subscribed(url: str, **options: object) -> str:
    address = url.replace("http", "ws") + "/graphql"
    async with connect(address, subprotocols=["graphql-ws"], **options) as opened:  # pyright: ignore
        await opened.send('{"type": "connection_init"}')
        return str(await opened.recv())


def test_subscriptions_are_for_our_own_pages(bare: str) -> None:
    assert "connection_ack" in asyncio.run(_subscribed(bare))
    assert "connection_ack" in asyncio.run(_subscribed(bare, origin=bare))
    for origin in ("https://evil.example", "null"):
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            asyncio.run(_subscribed(bare, origin=origin))


def test_the_password_is_asked_for_everywhere_but_at_the_probe(locked: str) -> None:
    for answer in (
        _post(locked),
        _get(locked, VERSION),
        httpx.get(locked, timeout=30),
        httpx.get(f"{locked}/logs/a", timeout=30),
    ):
        _refused(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic ")
    assert httpx.get(f"{locked}/server_info", timeout=30).status_code == 200
    _refused(httpx.get(f"{locked}/server_info/", timeout=30), 401)
    for wrong in ("open", "", "sesame2"):
        _refused(httpx.get(locked, auth=("admin", wrong), timeout=30), 401)
    for text in ("Basic", "Basic %%%", "Bearer sesame", "Basic c2VzYW1l", "Basic \xe9"):
        answer = httpx.get(locked, headers={"Authorization": text.encode("latin-1")}, timeout=30)
        _refused(answer, 401)
    right = httpx.post(f"{locked}/graphql", json={"query": VERSION}, auth=("who ever", "sesame"), timeout=30)
    assert right.json()["data"]["version"]


def test_subscriptions_ask_for_the_password_too(locked: str) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed)):
        asyncio.run(_subscribed(locked))
    header = {"Authorization": "Basic OnNlc2FtZQ=="}
    assert "connection_ack" in asyncio.run(_subscribed(locked, additional_headers=header))


def test_the_front_doors_own_calls_are_let_in_with_the_password(locked: str) -> None:
    dispatch = Dispatch(uuid4(), Lane("conversations", "2026-01-31", "0"))
    with_it = GraphqlLauncher(url=locked, flow_of=all_flows().get, login=("ingestion", "sesame"))
    with pytest.raises(DagsterError):  # Dagster itself answers: this one knows no code location
        with_it(dispatch)
    without = GraphqlLauncher(url=locked, flow_of=all_flows().get)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        without(dispatch)


def test_a_proxys_word_counts_only_from_the_proxy(locked: str) -> None:
    named = {"X-Forwarded-User": "ada", "X-Forwarded-For": "127.0.0.2"}
    _refused(httpx.get(locked, headers=named, timeout=30), 401)
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(transport=transport, base_url=locked, timeout=30) as proxy:
        _refused(proxy.get("/"), 401)
        assert proxy.get("/", headers=named).status_code == 200
        _refused(
            proxy.post(
                "/graphql", json={"query": MUTATION}, headers=named | {"Origin": "https://evil.example"}
            ),
            403,
        )


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs INGESTION_WEBSERVER_PASSWORD"):
        Rules.of(Settings(webserver_proxies="10.0.0.1"))  # pyright: ignore
    with pytest.raises(ConfigurationError, match="INGESTION_WEBSERVER_PROXIES"):
        Rules.of(Settings(webserver_proxies="proxy", webserver_password="x"))  # pyright: ignore


def test_it_is_told_when_anybody_may_come() -> None:
    assert is_open(Settings(), host="192.0.2.1")  # pyright: ignore[reportCallIssue]
    assert is_open(Settings(webserver_password=""), host="::")  # pyright: ignore
    assert not is_open(Settings(webserver_password="x"), host="192.0.2.1")  # pyright: ignore
    assert not [host for host in ("127.0.0.1", "localhost", "::1") if is_open(Settings(), host=host)]  # pyright: ignore
