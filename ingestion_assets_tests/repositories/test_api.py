"""Reading, watching and deleting repositories over HTTP, and GitHub's webhook."""

import hashlib
import hmac
import json
from collections.abc import Iterator

import httpx
import pytest

from ingestion_assets.repositories import watched_repositories
from ingestion_assets.repositories.paths import stored
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.settings import load_flow_settings
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.repositories import made_up
from ingestion_assets_tests.repositories.made_up import vector
from ingestion_assets_tests.servers import wait_until

ONE = "github.com/example/one"
SECRET = "webhook-secret-of-the-test"


@pytest.fixture
def settings_of_the_test() -> Iterator[None]:
    with environment(INGESTION_REPOSITORIES_GITHUB_WEBHOOK_SECRET=SECRET):
        yield


@pytest.fixture
def indexed(front: Front) -> Front:
    """With two repositories, one of which has a branch beside."""
    files = {"a.py": "a", "b.py": "b", "logo.png": None}
    made_up.index(front.engine, ONE, files, {"a.py": vector(1), "b.py": vector(1, 2)})
    for partition in ("github.com/example/two", f"{ONE}@feature/x"):
        made_up.index(front.engine, partition, {"a.py": "a"}, {"a.py": vector(1)})
    return front


def test_repositories_and_their_files_are_listed_page_by_page(indexed: Front) -> None:
    with indexed.client(indexed.key("read")) as client:
        answer = client.get("/api/v1/repositories", params={"limit": 2})
        assert answer.status_code == 200, answer.text
        first = answer.json()
        assert [one["repository"] for one in first["items"]] == [ONE, f"{ONE}@feature/x"]
        rest = client.get("/api/v1/repositories", params={"cursor": first["next"]}).json()
        assert ([one["repository"] for one in rest["items"]], rest["next"]) == (
            ["github.com/example/two"],
            None,
        )
        files = client.get(f"/api/v1/repositories/{ONE}/files").json()["items"]
        assert [(one["path"], one["state"], one["reason"]) for one in files] == [
            ("a.py", "embedded", None), ("b.py", "embedded", None), ("logo.png", "skipped", "binary"),
        ]  # fmt: skip
        skipped = client.get(f"/api/v1/repositories/{ONE}/files", params={"reason": "binary"}).json()["items"]
        assert [one["path"] for one in skipped] == ["logo.png"]
        of_branch = client.get(f"/api/v1/repositories/{ONE}@feature/x/files").json()["items"]
        assert [one["path"] for one in of_branch] == ["a.py"]


def test_similar_files_over_http(indexed: Front) -> None:
    with indexed.client(indexed.key("read")) as client:
        address = f"/api/v1/repositories/{ONE}/similar"
        within = client.get(address, params={"path": "a.py"}).json()["items"]
        assert [one["path"] for one in within] == ["b.py"]
        everywhere = client.get(address, params={"path": "a.py", "within": "all", "limit": 2}).json()["items"]
        assert {one["repository"] for one in everywhere} == {"github.com/example/two", f"{ONE}@feature/x"}
        assert client.get(address, params={"path": "gone.py"}).status_code == 404
        assert client.get(address, params={"path": "logo.png"}).status_code == 409
        for odd in ("\\ud800", "x\\U0000dfff.py", "\\U00110000"):
            assert client.get(address, params={"path": odd}).status_code == 404
        assert client.get(address).status_code == 422
        unknown = client.get("/api/v1/repositories/github.com/example/none/similar", params={"path": "a.py"})
        assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("Copie de\u00a0a.py".encode(), "Copie de\\u00a0a.py"),
        ("so\u00adft.py".encode(), "so\\u00adft.py"),
        ("next\u0085.py".encode(), "next\\u0085.py"),
        (b"raw\xa0.py", "raw\\xa0.py"),
        (b"tab\t.py", "tab\\t.py"),
        ("a\u00a0/".encode() * 1500 + b"x.py", "a\\u00a0/" * 1500 + "x.py"),
    ],
)
def test_a_path_is_found_by_what_lists_show(front: Front, path: bytes, shown: str) -> None:
    name = stored(path)
    made_up.index(front.engine, ONE, {name: "a", "b.py": "b"}, {name: vector(1), "b.py": vector(1, 2)})
    with front.client() as client:
        listed = client.get(f"/api/v1/repositories/{ONE}/files").json()["items"]
        assert shown in {one["path"] for one in listed}
        answer = client.get(f"/api/v1/repositories/{ONE}/similar", params={"path": shown})
        assert [one["path"] for one in answer.json()["items"]] == ["b.py"]


def test_search_says_when_it_goes_by_names_alone(indexed: Front) -> None:
    with indexed.client(indexed.key("read")) as client:
        found = client.get("/api/v1/repositories/search", params={"q": "anything"}).json()
        assert found == {"by": ["names"], "items": [], "next": None}
        assert client.get("/api/v1/repositories/search", params={"q": " "}).status_code == 422


def test_delete_takes_all_and_cancels_what_waits(indexed: Front) -> None:
    with indexed.client(indexed.key("repos", "read")) as client:
        receipt = client.post(f"/api/v1/ingestion/ingest/{ONE}").json()["receipt_url"]
        assert client.delete(f"/api/v1/repositories/{ONE}").status_code == 204
        assert client.delete(f"/api/v1/repositories/{ONE}").status_code == 404
        assert client.get(f"/api/v1/repositories/{ONE}/files").status_code == 404
        assert client.get(receipt).json()["errors"][0]["code"] == "cancelled"
    with indexed.client(indexed.key("read")) as reader:
        assert reader.delete("/api/v1/repositories/github.com/example/two").status_code == 403


def test_files_with_long_paths_are_listed_page_by_page(front: Front) -> None:
    paths = sorted(f"{'Отчёты за год/' * 100}{number}.txt" for number in range(3))
    made_up.index(
        front.engine, "github.com/example/long", {"a.py": "a", **dict.fromkeys(paths)}, {"a.py": vector(1)}
    )
    where = "/api/v1/repositories/github.com/example/long/files"
    found: list[str] = []
    with front.client(front.key("read")) as client:
        page = client.get(where, params={"limit": 1}).json()
        while page["next"] is not None and len(found) < 4:
            found += [one["path"] for one in page["items"]]
            answer = client.get(where, params={"limit": 1, "cursor": page["next"]})
            assert answer.status_code == 200, answer.text[:500]
            page = answer.json()
    assert [*found, page["items"][0]["path"]] == ["a.py", *paths]


def test_a_watched_repository_with_a_new_commit_is_submitted(indexed: Front) -> None:
    with indexed.client() as client:
        answer = client.patch(f"/api/v1/repositories/{ONE}", json={"watched": True})
        assert answer.json() == {"repository": ONE, "watched": True}
        nobody = client.patch("/api/v1/repositories/github.com/example/none", json={"watched": True})
        assert nobody.status_code == 404
        with indexed.engine.begin() as connection:
            (look,) = watched_repositories.due(connection, most=9, every_s=900)
            assert (look.submission.partition, look.commit) == (ONE, "c" * 40)
            assert watched_repositories.due(connection, most=9, every_s=900) == []  # not before a while
            assert not watched_repositories.seen(connection, look, look.commit, every_s=900)
            assert watched_repositories.wanted(connection) is None
            assert watched_repositories.seen(connection, look, "d" * 40, every_s=900)
        status = indexed.engine
        with status.connect() as connection:
            wait_until(
                lambda: watched_repositories.wanted(connection) is None, seconds=60, what="it to be submitted"
            )


def signed(
    client: httpx.Client, body: object, *, event: str = "push", delivery: str = "1", secret: str = SECRET
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    return client.post(
        "/api/v1/ingestion/webhooks/github",
        content=content,
        headers={
            "Content-Type": "application/json", "X-GitHub-Event": event, "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": f"sha256={signature}",
        },
    )  # fmt: skip


def push(ref: str = "refs/heads/main", name: str = "example/one") -> dict[str, object]:
    return {"ref": ref, "repository": {"full_name": name, "default_branch": "main"}, "pusher": {"name": "x"}}


@pytest.mark.usefixtures("settings_of_the_test")
def test_a_push_to_the_default_branch_of_a_known_repository_submits_it_once(indexed: Front) -> None:
    assert load_flow_settings(RepositoriesSettings).github_webhook_secret is not None
    with indexed.client(None) as client:
        assert signed(client, push(), secret="another").status_code == 401
        assert signed(client, push("refs/heads/other")).json()["status"] == "ignored"
        assert signed(client, push("refs/tags/main")).json()["status"] == "ignored"
        assert signed(client, {"zen": "x"}, event="ping").json()["status"] == "ignored"
        assert signed(client, push(name="example/unknown")).json()["status"] == "ignored"
        assert signed(client, [1]).status_code == 400
        assert signed(client, json.dumps(push()).encode().replace(b"main", b"\xff")).status_code == 400
        nameless = {"ref": "refs/heads/None", "repository": {"full_name": "example/one"}}
        assert signed(client, nameless).json()["status"] == "ignored"
        taken = signed(client, push()).json()
        assert (taken["status"], taken["job_id"]) == ("dispatched", 1)
        again = signed(client, push()).json()
        assert (again["status"], again["reason"]) == ("ignored", "it was delivered before")
        assert signed(client, push(), delivery="2").json()["job_id"] == 1  # it waits already


@pytest.mark.usefixtures("settings_of_the_test")
def test_a_push_while_the_queue_is_full_is_submitted_later(indexed: Front) -> None:
    with indexed.client() as sender, indexed.client(None) as client:
        for number in range(10):
            sender.post(f"/api/v1/ingestion/ingest/github.com/example/r{number}").raise_for_status()
        answer = signed(client, push())
        assert (answer.status_code, answer.json()["status"]) == (202, "noted")
        with indexed.engine.connect() as connection:
            wanted = watched_repositories.wanted(connection)
        assert wanted is not None
        assert wanted[1].partition == ONE


def test_without_a_secret_no_webhook_is_heeded(indexed: Front) -> None:
    with indexed.client(None) as client:
        assert signed(client, push()).status_code == 401
