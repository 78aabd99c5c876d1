"""Connections over HTTP: what is taken, who sees what, and credentials that nobody can read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.documents import source_connections
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.secrets_command import reseal
from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import Sealer, keep_keys, secret_keys
from ingestion_assets_tests.documents.fronts import USER, documents_front, make_tables
from ingestion_assets_tests.frontdoor.conftest import Front

SECRET = "planted-secret-4f81c2"
OAUTH = {"client_id": "app.example.com", "client_secret": SECRET, "refresh_token": f"{SECRET}-token"}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roots")


@pytest.fixture
def folder(roots: Path, request: pytest.FixtureRequest) -> Path:
    made = roots / re.sub(r"\W", "_", request.node.name)
    (made / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt", "c.txt", ".DS_Store"):
        (made / name).write_text(f"The text of {name}.")
    (made / "out.txt").symlink_to("/etc/hostname")
    return made


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory, roots: Path) -> Iterator[Front]:
    make_tables(postgres_url)
    home = tmp_path_factory.mktemp("home")
    with documents_front(
        postgres_url, home, document_roots=str(roots), fsspec_protocols="s3,https"
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def none_before(front: Front) -> None:
    with front.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM documents.connections"))


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    with front.client(front.key(f"documents:{USER}")) as client:
        yield client


def body(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "user_id": USER,
        "source_type": "local_directory",
        "name": "files",
        "config": {"path": str(folder)},
        **changes,
    }


def test_a_connection_from_its_making_to_its_end(client: httpx.Client, folder: Path) -> None:
    made = client.post("/batch/connections", json=body(folder))
    assert made.status_code == 201, made.text
    one = made.json()
    where = f"/batch/connections/{one['connection_id']}"
    assert (one["status"], one["config"], one["held"]) == ("active", {"path": str(folder)}, None)
    assert made.headers["location"] == f"/api/v1{where}"
    of_user = {"user_id": USER}
    assert client.get(where, params=of_user).json() == one
    assert client.get("/api/v1/batch/connections", params=of_user).json() == {"items": [one], "next": None}
    assert client.post(f"{where}/test", params=of_user).json()["success"] is True

    found, cursor = [], None
    while True:
        page = client.get(
            f"{where}/files", params={**of_user, "limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    told = {file["path"]: file["ignored"] or file["refused"] for file in found}
    assert told == {
        ".DS_Store": "of macOS",
        "a.txt": None,
        "c.txt": None,
        "out.txt": "unsafe_path",
        "sub/b.txt": None,
    }
    assert len(found) == 5

    changed = client.patch(where, json={**of_user, "name": "other", "sync_every_s": 3600}).json()
    assert (changed["name"], changed["sync_every_s"], changed["next_sync_at"] is None) == (
        "other",
        3600,
        False,
    )
    assert client.delete(where, params=of_user).status_code == 204
    assert client.delete(where, params=of_user).status_code == 404
    assert client.get("/batch/connections", params=of_user).json()["items"] == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"source_type": "ftp"}, ["source_type"]),
        ({"config": {"path": "/etc"}}, ["config", "path"]),
        ({"config": {}}, ["config", "path"]),
        ({"config": {"path": "/x", "other": SECRET}}, ["config", "other"]),
        ({"source_type": "google_drive", "config": {}}, ["config"]),
        ({"source_type": "google_drive", "config": {"oauth": {"client_id": SECRET}}}, ["config", "oauth", "client_secret"]),
        ({"source_type": "google_drive", "config": {"oauth": OAUTH, "token_uri": "http://169.254.169.254/"}}, ["config", "token_uri"]),
        ({"source_type": "s3", "config": {"path": "b", "options": {"profile": SECRET}}}, ["config", "options", "profile"]),
        ({"source_type": "s3", "config": {"path": "b", "options": {"endpoint_url": "http://127.0.0.1:9/"}}}, ["config"]),
        ({"source_type": "s3", "config": {"path": "b", "options": {"endpoint_url": "http://169.254.169.254/"}}}, ["config"]),
        ({"source_type": "s3", "config": {"path": "b::file:///etc"}}, ["config", "path"]),
        ({"source_type": "https", "config": {"path": "https://[::1]/files/"}}, ["config"]),
        ({"sync_every_s": 1}, ["sync_every_s"]),
        ({"user_id": "../x"}, ["user_id"]),
        ({"processing_options": {"source_specific_options": {"passwords": [SECRET]}}}, ["processing_options"]),
        ({"processing_options": {"source_specific_options": {"exclude": ["x" * 1001]}}}, ["processing_options"]),
        ({"processing_options": {"chunk_size": 100, "chunk_overlap": 100}}, ["processing_options"]),
    ],
)  # fmt: skip
def test_what_is_not_taken(front: Front, folder: Path, changes: dict[str, Any], where: list[str]) -> None:
    with front.client() as client:
        answer = client.post("/batch/connections", json=body(folder, **changes))
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"][: len(where) + 1] == ["body", *where]
    assert SECRET not in answer.text


def test_another_users_connection_is_not_there(front: Front, client: httpx.Client, folder: Path) -> None:
    one = client.post("/batch/connections", json=body(folder)).json()["connection_id"]
    assert client.post("/batch/connections", json=body(folder, user_id="other")).status_code == 403
    assert client.get("/batch/connections", params={"user_id": "other"}).status_code == 403
    where = f"/batch/connections/{one}"
    with front.client(front.key("documents:other")) as other:
        for call in (
            other.get(where, params={"user_id": USER}),
            other.post(f"{where}/sync", params={"user_id": USER}),
        ):
            assert call.status_code == 403
        asked = {"user_id": "other"}
        for call in (
            other.get(where, params=asked), other.delete(where, params=asked), other.post(f"{where}/test", params=asked),
            other.get(f"{where}/files", params=asked), other.post(f"{where}/sync", params=asked), other.patch(where, json=asked),
        ):  # fmt: skip
            assert call.status_code == 404
        assert other.get("/batch/connections", params=asked).json()["items"] == []
    with front.client(front.key("read")) as reader:
        assert reader.get(where, params={"user_id": USER}).status_code == 403
    with front.client(None) as nobody:
        assert nobody.get(where, params={"user_id": USER}).status_code == 401


def test_a_source_that_is_away_is_told_by_a_code(client: httpx.Client, folder: Path) -> None:
    one = client.post("/batch/connections", json=body(folder)).json()["connection_id"]
    where, of_user = f"/batch/connections/{one}", {"user_id": USER}
    folder.rename(folder.parent / "moved")
    tested = client.post(f"{where}/test", params=of_user).json()
    assert (tested["success"], tested["code"]) == (False, "not_found")
    assert client.get(where, params=of_user).json()["status"] == "unreachable"
    for call in (client.get(f"{where}/files", params=of_user), client.post(f"{where}/sync", params=of_user)):
        assert (call.status_code, call.json()["code"]) == (409, "not_found")
    (folder.parent / "moved").rename(folder)
    assert client.post(f"{where}/test", params=of_user).json()["success"] is True
    assert client.get(where, params=of_user).json()["status"] == "active"


def test_no_credential_can_be_read_anywhere(
    front: Front, client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    """In no answer, dump, log or metric; nor does what is sealed open for another connection."""
    of_user = {"user_id": USER}
    config = {"folder_id": "root-folder", "oauth": OAUTH}
    made = client.post(
        "/batch/connections", json={**of_user, "source_type": "google_drive", "name": "d", "config": config}
    )
    where = f"/batch/connections/{made.json()['connection_id']}"
    s3 = {"path": "bucket/docs", "options": {"key": "id", "secret": SECRET}}
    other = client.post(
        "/batch/connections", json={**of_user, "source_type": "s3", "name": "s", "config": s3}
    )
    assert (made.status_code, other.status_code) == (201, 201), other.text
    said = [
        made.text,
        other.text,
        client.get(where, params=of_user).text,
        client.get("/batch/connections", params=of_user).text,
    ]
    said += [client.patch(where, json={**of_user, "name": "other"}).text, client.get("/metrics").text]
    said += [*capfd.readouterr()]
    with front.engine.connect() as connection:
        tables = connection.scalars(
            sa.text(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('documents', 'ingestion')"
            )
        ).all()
        dump = [str(connection.execute(sa.text(f"SELECT * FROM {table}")).all()) for table in tables]
    assert not [text for text in [*said, *dump] if SECRET in text]
    assert len(tables) > 10

    with front.engine.begin() as connection:
        first, second = source_connections.list_of(connection, USER)
        connection.execute(
            sa.text("UPDATE documents.connections SET sealed = :sealed WHERE id = :id"),
            {"sealed": first.sealed, "id": second.id},
        )
        moved = source_connections.get(connection, second.id)
    assert moved is not None
    with pytest.raises(FileError) as raised:
        source_connections.open_source(moved, front.settings)
    assert raised.value.code == "needs_reauth"
    assert SECRET not in str(raised.value)


def test_keys_are_rotated_while_everything_goes_on(
    front: Front, client: httpx.Client, folder: Path, tmp_path: Path
) -> None:
    of_user = {"user_id": USER}
    ids = [client.post("/batch/connections", json=body(folder)).json()["connection_id"] for _ in range(3)]

    def works() -> bool:
        return all(
            client.post(f"/batch/connections/{one}/test", params=of_user).json()["success"] for one in ids
        )

    def sealed() -> list[str]:
        with front.engine.connect() as connection:
            return list(connection.scalars(sa.text("SELECT sealed FROM documents.connections")))

    home = front.settings.home
    old = secret_keys(front.settings)
    keep_keys(front.settings, ["new-key", *old])
    assert works()  # before
    assert reseal(front.settings) == (3, [])
    assert works()
    keep_keys(front.settings, ["new-key"])
    assert works()  # with the old one gone
    assert reseal(front.settings) == (3, [])
    assert (home / "secret_key").stat().st_mode & 0o777 == 0o600
    for one in sealed():
        Sealer("new-key").rotate(one)
    given = Settings(
        _env_file=None,
        home=tmp_path / "x",
        postgres_url=front.settings.postgres_url,
        secret_keys="other,third",
    )
    assert reseal(given)[0] == 0
    assert "documents.connections.sealed" in reseal(given)[1][0]
    given = given.model_copy(update={"secret_key": Settings(_env_file=None, secret_key="new-key").secret_key})
    assert reseal(given) == (3, [])  # the older name opens, too
    Sealer("other").rotate(sealed()[0])
