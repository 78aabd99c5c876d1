"""Front doors whose wall clock is off, or whose syncs fail: what was acknowledged is found, and kept in the order of acceptance."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.landing.late_segments import Sweep, register_late
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.stores.embedded import free_port
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.faults.preload import built
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front, process, serving, settings_for
from ingestion_assets_tests.servers import wait_until

BATCH = "/api/v1/ingest/batch"
BODY = {"messages": [{"type": "user"}]}
LATER = {"X-API-Key": ADMIN_TOKEN, "Prefer": "respond-async"}
SEEN_WITHIN_S = 0.3  # what the files say is looked at ten times a second


@contextmanager
def faulty(
    home: Path,
    postgres_url: str,
    folder: Path,
    *,
    clock: str = "0",
    syncs: str = "0 0",
    health: str = "ready",
    **environment: str,
) -> Iterator[str]:
    """The address of a front door whose wall clock is off by so many seconds, and whose syncs do as `syncs` says."""
    folder.mkdir()
    say(folder / "clock", clock)
    say(folder / "syncs", syncs)
    preloaded = {
        "LD_PRELOAD": str(built("faulty")), "FAULTY_CLOCK": str(folder / "clock"), "FAULTY_SYNCS": str(folder / "syncs"),
    }  # fmt: skip
    with process(home=home, postgres_url=postgres_url, health=health, **preloaded, **environment) as (_, url):
        yield url


def say(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="ascii")
    draft.replace(file)


def send(url: str, *, key: str | None = None) -> httpx.Response:
    return httpx.post(
        url + BATCH, json=BODY, headers=LATER | ({"Idempotency-Key": key} if key else {}), timeout=30
    )


@pytest.fixture
def healthy(fresh_postgres_url: str, tmp_path: Path) -> Iterator[Front]:
    """A front door without faults, on the same landing storage as the faulty ones."""
    with serving(settings_for(home=tmp_path / "home", postgres_url=fresh_postgres_url)) as front:
        yield front


@pytest.mark.parametrize("off_s", [-1800, 1800], ids=["behind", "ahead"])
def test_what_a_clock_that_is_off_files_under_a_wrong_minute_is_found(
    healthy: Front, tmp_path: Path, off_s: int
) -> None:
    """The ledger is away from the faulty front door from the start, so that it has no other clock than its own."""
    storage = LocalStorage(tmp_path / "home" / "landing")
    sweep = Sweep(storage)
    register_late(healthy.engine, storage, sweep=sweep)  # the first look goes back for days; this is not it
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere"
    with faulty(tmp_path / "home", nowhere, tmp_path / "faulty", clock=str(off_s), health="live") as url:
        answer = send(url)
        assert (answer.status_code, answer.json()["registered"]) == (202, False)
        (folder,) = {path.parent for path in (storage.root / "segments").rglob("*.seg")}
        filed = datetime.strptime(f"{folder.parent.name} {folder.name}", "%Y-%m-%d %H-%M").replace(tzinfo=UTC)
        assert abs(filed - datetime.now(UTC) - timedelta(seconds=off_s)) < timedelta(minutes=5)

        def is_found() -> bool:
            register_late(healthy.engine, storage, sweep=sweep)
            return answer.json()["id"] in _ids(healthy.engine)

        wait_until(is_found, seconds=20, what="the segment to be found by what lies there")
        asked_for = send(url).json()["id"]
    with healthy.client() as client:
        assert client.get(f"/api/v1/receipts/{asked_for}").status_code == 200, "its id says where to look"


def test_a_segment_that_was_damaged_and_restored_late_is_registered(healthy: Front, tmp_path: Path) -> None:
    """Written while the ledger was away, then damaged; it is whole again long after anybody looks at its minute."""
    storage = LocalStorage(tmp_path / "home" / "landing")
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere"
    with faulty(tmp_path / "home", nowhere, tmp_path / "faulty", health="live") as url:
        receipt = send(url).json()["id"]
    (segment,) = (storage.root / "segments").rglob("*.seg")
    whole = segment.read_bytes()
    segment.write_bytes(b"|" + whole[1:])
    address = f"/api/v1/receipts/{receipt}"
    with healthy.client() as client:
        refused = client.get(address)
        assert refused.status_code == 503, "it was given out, and is not forgotten"
        assert segment.name in refused.json()["detail"]
        later = datetime.now(UTC) + timedelta(days=9)
        register_late(healthy.engine, storage, now=later)  # days go by; its minute is not looked at any more
        segment.write_bytes(whole)
        assert register_late(healthy.engine, storage, now=later + timedelta(minutes=1)).registered == 1
        assert client.get(address).status_code == 200


def test_front_doors_with_different_clocks_keep_the_order_of_acceptance(
    fresh_postgres_url: str, tmp_path: Path
) -> None:
    """What is sent after something was acknowledged gets the greater id, whoever takes it; so "the last one" is the last one."""
    with ExitStack() as held:
        doors = [
            held.enter_context(
                faulty(tmp_path / "home", fresh_postgres_url, tmp_path / f"door {clock}", clock=clock, INGESTION_TEST_NO_RUNS="1")
            )
            for clock in ("0", "3600", "-600")
        ]  # fmt: skip
        given = [UUID(send(doors[number % 3]).json()["id"]) for number in range(12)]
        say(tmp_path / "door 3600" / "clock", "-3600")  # it jumps back
        time.sleep(SEEN_WITHIN_S)
        given += [UUID(send(doors[number % 3]).json()["id"]) for number in range(12)]
    assert given == sorted(given)


@pytest.mark.parametrize("keyed", [False, True], ids=["without key", "with key"])
def test_a_failing_sync_accepts_nothing_or_says_that_it_does_not_know(
    fresh_postgres_url: str, tmp_path: Path, *, keyed: bool
) -> None:
    """Refused for certain: nothing of it is there, then or later. Unknown: repeating it with its key takes it once."""
    storage = LocalStorage(tmp_path / "home" / "landing")
    with faulty(
        tmp_path / "home", fresh_postgres_url, tmp_path / "faulty", INGESTION_TEST_NO_RUNS="1"
    ) as url:
        assert send(url).status_code == 202
        accepted = 1
        unknown: list[str] = []
        for share in ("0.4", "1"):
            say(tmp_path / "faulty" / "syncs", f"0 {share}")
            time.sleep(SEEN_WITHIN_S)
            for number in range(20):
                key = f"{share} {number}" if keyed else None
                answer = send(url, key=key)
                accepted += answer.status_code == 202
                if answer.status_code != 202:
                    assert answer.status_code == 503
                    said = answer.json()
                    if said.get("accepted") == "unknown":
                        unknown.append(key or "")
                    else:
                        assert "Nothing was accepted" in said["detail"]
        say(tmp_path / "faulty" / "syncs", "0 0")
        time.sleep(SEEN_WITHIN_S)
        assert accepted + len(unknown) < 41, "some were refused for certain"
        if keyed:
            assert all(send(url, key=key).status_code == 202 for key in unknown)
            accepted, unknown = accepted + len(unknown), []
        own = engine(fresh_postgres_url)
        wait_until(lambda: len(_ids(own)) >= accepted, seconds=20, what="what was accepted to have rows")
        register_late(own, storage, now=datetime.now(UTC) + timedelta(minutes=2), sweep=Sweep(storage))
        assert accepted <= len(_ids(own)) <= accepted + len(unknown)


def _ids(own: sa.Engine) -> set[str]:
    query = sa.text("SELECT id FROM ingestion.drops WHERE NOT attributes ? 'alias_of'")
    with own.connect() as connection:
        return set(map(str, connection.scalars(query)))
