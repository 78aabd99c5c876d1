"""The power fails at random instants: whatever was acknowledged is there, on landing storage and in the embedded stores.

Landing storage and MongoDB keep their promises on any disk that keeps POSIX's; PostgreSQL and Valkey count on a file system that
journals its entries and sizes, as ext4, XFS and btrfs do.
"""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from ingestion_assets.landing.segments import contents, unpack
from ingestion_assets.stores.embedded import free_port
from ingestion_assets_tests.faults.disk import Disk, Model
from ingestion_assets_tests.faults.power_loss import broken_promises, losses, recorded_store
from ingestion_assets_tests.faults.promises import PROMISES
from ingestion_assets_tests.faults.recording import Recording, recording
from ingestion_assets_tests.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"
SEED = 20260302
INSTANTS = 200
STORE_INSTANTS = {"PostgreSQL": 3, "MongoDB": 3, "Valkey": 8}
"""In the short form; the long one has `INSTANTS` of each."""
MODELS = {"PostgreSQL": Model.JOURNALED, "MongoDB": Model.POSIX, "Valkey": Model.JOURNALED}
WRITING_S = 10.0 if LONG else 2.0
TOKEN = "a token for the front door alone"
SENDERS = 6


@contextmanager
def _recorded_front_door(folder: Path, postgres_url: str) -> Iterator[tuple[str, Recording]]:
    """A front door whose landing storage is recorded."""
    landing, port = folder / "home" / "landing", free_port()
    landing.mkdir(parents=True)
    with recording(landing, folder / "recording") as recorded:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INGESTION_")}
        settings = {
            "INGESTION_HOME": str(folder / "home"), "INGESTION_PORT": str(port), "INGESTION_POSTGRES_URL": postgres_url,
            "INGESTION_ADMIN_TOKEN": TOKEN, "INGESTION_RATE_LIMIT": "", "INGESTION_WEBSERVER_URL": "http://127.0.0.1:9",
        }  # fmt: skip
        with (folder / "log.txt").open("ab") as output:
            process = subprocess.Popen(
                (sys.executable, "-m", "ingestion_assets.server"), cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=kept | settings | recorded.environment,
            )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _is_ready(url), seconds=60, what="the front door")
            yield url, recorded
        finally:
            process.kill()
            process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=3).status_code == 200
    except httpx.TransportError:
        return False


def _send(url: str, recorded: Recording, *, seed: int, over: threading.Event) -> None:
    """Messages of any size, each receipt noted with the body's digest once it is there."""
    rng = random.Random(seed)
    with httpx.Client(
        base_url=url, headers={"X-API-Key": TOKEN, "Content-Type": "text/plain"}, timeout=30
    ) as client:
        while not over.is_set():
            line = f"C|{rng.getrandbits(40)}|name|{rng.randbytes(rng.choice((9, 900, 20_000))).hex()}|3|12-345|1.00|BUILDING|c\n"
            answer = client.post("/ingest/batch", content=line, headers={"Prefer": "respond-async"})
            assert answer.status_code == 202, answer.text
            recorded.note([answer.headers["X-Receipt-Id"], sha256(line.encode()).hexdigest()])


def _payloads(landing: Path) -> dict[str, str]:
    """Receipts on landing storage, with the digests of their whole bodies."""
    found: dict[str, str] = {}
    for path in (landing / "segments").rglob("*.seg"):
        segment = path.read_bytes()
        for entry in contents(segment, path.relative_to(landing).as_posix()).entries:
            header = entry.header
            body = unpack(
                segment[entry.offset : entry.offset + header.length], digest=header.sha256, size=header.size
            )
            found[str(header.id)] = sha256(body).hexdigest()
    return found


def test_landing_storage_holds_what_was_acknowledged(tmp_path: Path, fresh_postgres_url: str) -> None:
    with _recorded_front_door(tmp_path, fresh_postgres_url) as (url, recorded):
        over = threading.Event()
        senders = [
            threading.Thread(target=_send, args=(url, recorded), kwargs={"seed": number, "over": over})
            for number in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        over.wait(WRITING_S)
        over.set()
        for sender in senders:
            sender.join()
        most = 0
        for loss in losses(recorded, tmp_path, count=INSTANTS, seed=SEED, model=Model.POSIX):
            found = _payloads(loss.folder)
            missing = [receipt for receipt, digest in loss.notes if found.get(receipt) != digest]
            assert missing == [], f"loss {loss.number}: {len(missing)} of {len(loss.notes)}"
            most = max(most, len(loss.notes))
    print(f"{INSTANTS} losses, up to {most} payloads acknowledged before")
    assert most > SENDERS, "something was sent"


@pytest.mark.parametrize("name", list(PROMISES))
def test_a_store_holds_what_it_promised(name: str, tmp_path: Path) -> None:
    count = INSTANTS if LONG else STORE_INSTANTS[name]
    with recorded_store(PROMISES[name], tmp_path, seed=SEED, seconds=WRITING_S) as recorded:
        said = broken_promises(PROMISES[name], recorded, tmp_path, count=count, seed=SEED, model=MODELS[name])
    assert said == []


def test_a_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """The disk under the other tests does lose: else these would show nothing."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_bytes(b"before")
    script = f"""
import os
def put(name, data, sync):
    file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(file, data)
    if sync:
        os.fsync(file)
    os.close(file)
os.chdir({str(root)!r})
put("unsynced", b"u" * 9000, False)
put("nameless", b"n" * 9000, True)
put("kept.part", b"k" * 9000, True)
os.rename("kept.part", "kept")
folder = os.open(".", os.O_RDONLY)
os.fsync(folder)
put("old", b"after!", False)
os.rename("old", "new")
"""
    with recording(root, tmp_path / "recording") as recorded:
        subprocess.run((sys.executable, "-c", script), check=True, env=os.environ | recorded.environment)
        records = list(recorded.records())
        names: set[frozenset[str]] = set()
        contents_of: dict[str, set[bytes]] = {}
        for model in Model:
            for number in range(60):
                disk = Disk(recorded, model=model)
                for one in records:
                    disk.replay(one)
                target = tmp_path / f"{model.name}{number}"
                disk.lose_power(target, random.Random(number))
                found = {path.name: path.read_bytes() for path in target.iterdir()}
                names.add(frozenset(found))
                for name, content in found.items():
                    contents_of.setdefault(name, set()).add(content)
    assert contents_of["kept"] == {b"k" * 9000}
    assert {"kept", "nameless", "unsynced", "old"} in names
    assert {"kept", "nameless", "unsynced", "new"} in names
    assert len(contents_of["unsynced"]) > 3, "whole, empty, with holes, cut"
    assert contents_of["old"] | contents_of["new"] >= {b"before", b"after!"}
