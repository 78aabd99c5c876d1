"""What cannot be registered now is registered later."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.landing import late_segments
from ingestion_assets.landing.drops import LandingUnavailableError, NewDrop
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.landing.storage import LocalStorage, segment_path
from ingestion_assets.landing.tables import drops

NOTE = NewDrop(
    flow="notes", partition="2026-01-31", lane="2026-01-31", principal="test", body=b"1", records=1
)


def known(engine: sa.Engine) -> set[UUID]:
    with engine.connect() as connection:
        return set(connection.scalars(sa.select(drops.c.id)))


def test_a_segment_that_cannot_be_read_now_is_registered_once_it_can(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    now = datetime.now(UTC)
    one, other = (pack(NOTE, drop_id=uuid_utils.compat.uuid7(), received_at=now) for _ in range(2))
    first = segment_path(uuid_utils.compat.uuid7(), now)
    storage.write(first, encode([one], first)[0])
    path = segment_path(uuid_utils.compat.uuid7(), now)
    unreadable = storage.root / path
    unreadable.symlink_to("/proc/self/mem")  # an input/output error at its first byte
    for hours in range(3):
        with pytest.raises(LandingUnavailableError, match=path):
            late_segments.register_late(engine, storage, now=now + timedelta(hours=hours))
        assert known(engine) == {one.header.id}
    unreadable.unlink()
    storage.write(path, encode([other], path)[0])
    assert late_segments.register_late(engine, storage, now=now + timedelta(hours=3)).registered == 1
    assert known(engine) == {one.header.id, other.header.id}


def test_a_segment_that_has_just_been_written_is_left_to_the_one_who_wrote_it(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    now = datetime.now(UTC)
    drops = [pack(NOTE, drop_id=uuid_utils.compat.uuid7(), received_at=now) for _ in range(2)]
    young = segment_path(uuid_utils.compat.uuid7(), now)
    storage.write(young, encode(drops[:1], young)[0])
    odd = segment_path(uuid_utils.compat.uuid7(), now).replace(".seg", "-copied.seg")
    storage.write(odd, encode(drops[1:], odd)[0])
    settled = timedelta(seconds=2)
    assert late_segments.register_late(engine, storage, now=now, settled=settled).registered == 1
    assert known(engine) == {drops[1].header.id}
    later = now + 2 * settled
    assert late_segments.register_late(engine, storage, now=later, settled=settled).registered == 1
    assert known(engine) == {drop.header.id for drop in drops}
