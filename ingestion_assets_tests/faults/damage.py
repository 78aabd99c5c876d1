"""Segments that lose bits or their ends, with rows in the ledger and without, and are restored later."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from ingestion_assets.stack.places import Places
from ingestion_assets.stack.supervision import Supervisor
from ingestion_assets_tests.entities.load import Stream
from ingestion_assets_tests.faults.campaign import DEADLINE_S, LONG, Campaign
from ingestion_assets_tests.faults.load import Acknowledged, Client, Send, Senders, held_back, unwaiting
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

WORKER, POSTGRES = "dagster:worker-default", "stores:postgres"
TOLD_S = 45.0
SOME_S = 8.0
DAMAGED_S = (3.0, 12.0) if LONG else (1.0, 4.0)
MOST_DAMAGED = 4
ID = b'{"id":"'
NEWLINE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A segment as it was, and from which byte to which it is another now."""

    path: Path
    whole: bytes
    start: int
    end: int
    has_rows: bool

    def hits(self, receipt: str) -> bool:
        """Whether the payload of this receipt lies in it and may be hurt: what follows it up to the next one counts as its own."""
        begin = self.whole.find(ID + receipt.encode())
        if begin < 0:
            return False
        after = self.whole.find(ID, begin + 1)
        return self.start < (after if after >= 0 else len(self.whole)) and self.end > begin

    def restore(self, *, in_place: bool) -> None:
        if in_place:
            self.path.write_bytes(self.whole)
            return
        draft = self.path.with_name(f".{self.path.name}.part")
        draft.write_bytes(self.whole)
        draft.rename(self.path)


def damaged_round(running: Campaign, payloads: int) -> list[str]:
    """Damage segments while nobody could have read them yet: the payloads of some have rows, those of others were accepted without
    the ledger. The others must go on, the damaged ones be told of, and all be done once they are restored."""
    stack, rng, said = running.stack, running.rng, list[str]()
    supervisor = Supervisor(Places(stack.home).supervisor_socket)
    made = running.payloads(payloads)
    streams = [one for one in made if isinstance(one, Stream)]
    sent = [unwaiting(one) for one in made if one not in streams]
    first, second = sent[: len(sent) // 2], sent[len(sent) // 2 :]
    ledger_away = threading.Event()
    damaged: list[Damaged] = []
    of_first, of_second = list[Send](), list[Send]()
    """Those of each half that were acknowledged."""

    def hurt(senders: Senders) -> float:
        with _without(supervisor, WORKER):
            before = _segments(stack)
            with_rows = _some_segments(stack, before, all_are_sent=lambda: len(of_first) == len(first))
            with _without(supervisor, POSTGRES):
                between = _segments(stack)
                ledger_away.set()
                without_rows = _some_segments(
                    stack, between, all_are_sent=lambda: len(of_second) == len(second)
                )
                if not without_rows:
                    said.append("nothing was accepted without the ledger")
                for paths, has_rows in ((with_rows, True), (without_rows, False)):
                    chosen = rng.sample(paths, min(len(paths), MOST_DAMAGED))
                    damaged.extend(_damage(running, path, has_rows=has_rows) for path in chosen)
        senders.finish(timeout_s=DEADLINE_S)
        hit = [one for one in senders.acknowledged if any(part.hits(one.receipt) for part in damaged)]
        intact = [one for one in senders.acknowledged if one not in hit]
        wait_until(lambda: not _open(stack, intact), seconds=DEADLINE_S, what="the other payloads to be done")
        said.extend(_told(stack, hit, damaged))
        time.sleep(rng.uniform(*DAMAGED_S))  # for how long they are damaged, not a wait
        for one in damaged:
            one.restore(in_place=rng.random() < 1 / 2)
        with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=30) as client:
            wait_until(lambda: not _open(stack, hit), seconds=DEADLINE_S, what="the restored payloads to end")
            client.post("/api/v1/rejects/redrive", params={"kind": "payload"}).raise_for_status()
            names = [one.path.name for one in damaged]
            with suppress(AssertionError):
                wait_until(lambda: not _tells(client, names), seconds=TOLD_S, what="health to be quiet again")
            said.extend(f"{name} is restored, and still told of" for name in _tells(client, names))
        return time.monotonic()

    late = [held_back(_noted(one, in_list=of_second), until=ledger_away) for one in second]
    running.under_load(hurt, [*(_noted(one, in_list=of_first) for one in first), *late], names=("damage",))
    # Nobody can tell where a stream stands while a part of it is damaged, and those who send it would wait.
    running.under_load(lambda _: time.monotonic(), streams, names=("streams after damage",))
    return said


@contextmanager
def _without(supervisor: Supervisor, program: str) -> Iterator[None]:
    supervisor.call("stopProcess", program)
    try:
        yield
    finally:
        supervisor.call("startProcess", program)


def _segments(stack: RunningStack) -> set[Path]:
    return set((stack.home / "landing" / "segments").rglob("*.seg"))


def _noted(send: Send, *, in_list: list[Send]) -> Send:
    """The same, which stands in the list once it is acknowledged."""

    def sent(client: Client) -> list[Acknowledged]:
        acknowledged = send(client)
        in_list.append(send)
        return acknowledged

    return sent


def _some_segments(stack: RunningStack, before: set[Path], *, all_are_sent: Callable[[], bool]) -> list[Path]:
    """What came since, once it is some, or no more will come."""
    with suppress(AssertionError):
        wait_until(
            lambda: len(_segments(stack) - before) > MOST_DAMAGED or all_are_sent(), seconds=SOME_S, what="segments"
        )  # fmt: skip
    return sorted(_segments(stack) - before)


def _damage(running: Campaign, path: Path, *, has_rows: bool) -> Damaged:
    """Flip a bit anywhere or in a header, or cut the end off."""
    rng, whole = running.rng, path.read_bytes()
    how = rng.choice(("any bit", "header", "first byte", "cut", "empty"))
    if how in ("cut", "empty"):
        start, end = (0 if how == "empty" else rng.randrange(1, len(whole))), len(whole)
        path.write_bytes(whole[:start])
    else:
        somewhere = rng.choice(
            [at for at, byte in enumerate(whole) if byte != NEWLINE]
        )  # that after a body is not read
        start = {"any bit": somewhere, "header": rng.randrange(len(ID) + 36, 120), "first byte": 0}[how]
        end = start + 1
        path.write_bytes(whole[:start] + bytes([whole[start] ^ 1 << rng.randrange(8)]) + whole[end:])
    return Damaged(path=path, whole=whole, start=start, end=end, has_rows=has_rows)


def _open(stack: RunningStack, acknowledged: Sequence[Acknowledged]) -> list[str]:
    """Receipts without an outcome."""
    query = """
        SELECT asked::text AS receipt FROM unnest(%(receipts)s::uuid[]) asked
        WHERE NOT EXISTS (SELECT FROM ingestion.drops WHERE id = asked AND state IN ('done', 'failed'))
    """
    return [one["receipt"] for one in rows(stack, query, receipts=[one.receipt for one in acknowledged])]


def _told(stack: RunningStack, hit: Sequence[Acknowledged], damaged: Sequence[Damaged]) -> list[str]:
    """Where nobody tells of what is damaged: segments that the ledger could not take in, receipts that are not known."""
    unseen = [one.path.name for one in damaged if not one.has_rows]
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=30) as client:
        with suppress(AssertionError):
            wait_until(
                lambda: len(_tells(client, unseen)) == len(unseen), seconds=TOLD_S, what="health to tell"
            )
        silent = set(unseen) - set(_tells(client, unseen))
        unknown = [
            one.receipt for one in hit if client.get(f"/api/v1/receipts/{one.receipt}").status_code == 404
        ]
    return [f"nobody tells of {name}" for name in silent] + [
        f"the receipt {receipt} of a damaged payload is not known" for receipt in unknown
    ]


def _tells(client: httpx.Client, names: Sequence[str]) -> list[str]:
    """Which segments `/health` names."""
    text = client.get("/health").text
    return [name for name in names if name in text]
