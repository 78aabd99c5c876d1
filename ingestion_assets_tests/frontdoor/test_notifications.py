"""One LISTEN connection for all: keys find their subscribers, a lost connection makes everybody look, nothing piles up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from ingestion_assets.frontdoor.notifications import Notifications
from ingestion_assets.frontdoor.waiting import ReceiptWatch, version
from ingestion_assets.landing.channels import FINISHED, PROGRESS
from ingestion_assets.landing.drops import Receipt, State

CHANNELS = (FINISHED, PROGRESS)
LONG_S = 30.0


@contextlib.asynccontextmanager
async def listening(url: str) -> AsyncIterator[Notifications]:
    began = asyncio.Event()
    notifications = Notifications(conninfo=url, channels=CHANNELS, on_listening=began.set)
    await notifications.start()
    try:
        async with asyncio.timeout(LONG_S):
            await began.wait()
        yield notifications
    finally:
        await notifications.stop()


async def notify(url: str, channel: str, payload: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))


def made(drop_id: UUID, state: State, number: int = 0) -> Receipt:
    now = datetime.now(UTC)
    progress = {"number": number, "at": now.isoformat(), "state": {"step": number}} if number else None
    return Receipt(
        id=drop_id, state=state, flow="f", partition="p", lane="l", subject=None, principal="test", records=1, size_bytes=1,
        attempts=0, received_at=now, claimed_at=now, finished_at=None, run_id=None, result=None, errors=None,
        progress=progress,
    )  # fmt: skip


def test_a_key_among_many_finds_who_waits_for_it_and_nobody_else(postgres_url: str) -> None:
    async def work() -> None:
        async with listening(postgres_url) as notifications:
            heard: list[str] = []
            notifications.observe(PROGRESS, heard.append)
            loop = asyncio.get_running_loop()
            with (
                notifications.subscribe((PROGRESS, "b")) as mine,
                notifications.subscribe((PROGRESS, "z"), (FINISHED, "b")) as other,
            ):
                await mine.wait(0)  # that it listens was news
                await other.wait(0)
                await notify(postgres_url, PROGRESS, "a,b,c")
                began = loop.time()
                await mine.wait(LONG_S)
                assert loop.time() - began < LONG_S / 2
                began = loop.time()
                await other.wait(0.2)
                assert loop.time() - began >= 0.19
            assert heard == ["a,b,c"]
            with pytest.raises(LookupError, match="nobody listens on the channel elsewhere"):
                notifications.subscribe(("elsewhere", "a"))

    asyncio.run(work())


def test_what_was_missed_while_the_connection_was_away_is_looked_for(postgres_url: str) -> None:
    async def work() -> None:
        async with listening(postgres_url) as notifications:
            with notifications.subscribe((FINISHED, "a")) as news:
                await news.wait(0)
                loop = asyncio.get_running_loop()
                async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
                    await connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'ingestion-listen' AND datname = current_database()"
                    )
                began = loop.time()
                await news.wait(LONG_S)
                assert loop.time() - began < LONG_S / 2
                assert notifications.listening

    asyncio.run(work())


def test_requests_that_wait_together_are_one_look(postgres_url: str) -> None:
    looks: list[Sequence[UUID]] = []
    finished: set[UUID] = set()
    looked = asyncio.Event()

    async def read(ids: Sequence[UUID]) -> dict[UUID, Receipt]:
        looks.append(ids)
        looked.set()
        return {one: made(one, "done" if one in finished else "claimed") for one in ids}

    async def work() -> None:
        async with listening(postgres_url) as notifications:
            watch = ReceiptWatch(notifications=notifications, read=read)
            ids = [uuid4() for _ in range(50)]
            waiting = [asyncio.create_task(watch.outcome(one, timeout_s=LONG_S, known=True)) for one in ids]
            await looked.wait()
            assert watch.waiting == 50
            finished.update(ids)
            looks.clear()
            await notify(postgres_url, FINISHED, ",".join(map(str, ids)))
            receipts = await asyncio.gather(*waiting)
            assert {receipt.id for receipt in receipts if receipt} == set(ids)
            assert len(looks) <= 2  # the second, should the regular look have come in between
            assert watch.waiting == 0
            never = asyncio.create_task(watch.outcome(uuid4(), timeout_s=LONG_S))
            await asyncio.sleep(0)
            watch.release()
            assert await never is None

    asyncio.run(work())


def test_a_slow_follower_gets_the_newest_and_all_in_order(postgres_url: str) -> None:
    drop, now = uuid4(), made(uuid4(), "landed")

    async def read(ids: Sequence[UUID]) -> dict[UUID, Receipt]:
        return dict.fromkeys(ids, now)

    async def work() -> None:
        nonlocal now
        async with listening(postgres_url) as notifications:
            watch = ReceiptWatch(notifications=notifications, read=read)
            seen: list[object] = []
            async with contextlib.aclosing(watch.follow(drop, quiet_s=LONG_S)) as changes:
                async for receipt in changes:
                    assert receipt is not None
                    seen.append((receipt.state, receipt.progress and receipt.progress["number"]))
                    if receipt.state == "landed":  # three changes come while it is not looking
                        for number in (1, 2, 3):
                            now = made(drop, "claimed", number)
                            await notify(postgres_url, PROGRESS, str(drop))
                    elif receipt.state == "claimed":
                        now = made(drop, "done", 3)
                        await notify(postgres_url, FINISHED, str(drop))
            assert seen == [("landed", None), ("claimed", 3), ("done", 3)]

    asyncio.run(work())


def test_a_follower_that_hears_nothing_is_told_so(postgres_url: str) -> None:
    async def read(ids: Sequence[UUID]) -> dict[UUID, Receipt]:
        return {one: made(one, "held") for one in ids}

    async def work() -> None:
        async with listening(postgres_url) as notifications:
            changes = ReceiptWatch(notifications=notifications, read=read).follow(uuid4(), quiet_s=0.5)
            async with contextlib.aclosing(changes):
                first = await anext(changes)
                assert first is not None
                assert first.state == "held"  # may go on
                assert await anext(changes) is None

    asyncio.run(work())


def test_another_attempt_or_run_is_another_version() -> None:
    first = made(uuid4(), "claimed")
    others = [
        first,
        msgspec.structs.replace(first, attempts=1),
        msgspec.structs.replace(first, attempts=1, run_id="one"),
        msgspec.structs.replace(first, attempts=1, run_id="two"),
        msgspec.structs.replace(first, wanted="pause"),
        made(first.id, "claimed", number=2),
    ]
    assert len({version(one) for one in others}) == len(others)
