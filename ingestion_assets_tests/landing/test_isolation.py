"""What is too much together is tried one by one, with what the first try held given back; what is too much alone says so."""

import weakref
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import uuid_utils.compat

from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.isolation import work_through

LARGE = 1_000_000


class Held:
    """Something large that the work holds."""


def _ref(size: int) -> DropRef:
    return DropRef(
        id=uuid_utils.compat.uuid7(), flow="notes", partition="p", lane="p", principal="test", subject=None,
        received_at=datetime.now(UTC), attributes={}, records=1, size_bytes=size, body_sha256=b"", segment="s", offset=0,
        length=1, state="claimed",
    )  # fmt: skip


def test_a_payload_that_is_too_much_alone_fails_alone_and_says_how_much_it_was() -> None:
    held: list[weakref.ref[Held]] = []

    def work(refs: Sequence[DropRef]) -> list[UUID]:
        assert all(one() is None for one in held), "the memory of an earlier try is still held"
        large = Held()
        held.append(weakref.ref(large))
        if sum(ref.size_bytes for ref in refs) >= LARGE:
            raise MemoryError("Unable to allocate 3.5 GiB")
        return [ref.id for ref in refs]

    small, large, other = _ref(1), _ref(LARGE), _ref(1)
    worked = work_through([[small, large, other]], work, is_transient=lambda _error: False)
    assert worked.results == [small.id, other.id]
    (failed,) = worked.failed
    assert failed.drop_id == large.id
    assert failed.errors[0]["code"] == failed.rejects[0].code == "out_of_memory"
    said = failed.errors[0]["reason"]
    assert said.startswith(
        "alone, the payload of 1,000,000 bytes was too much: the worker ran out of memory: its process held "
    )
    assert said.endswith("it asked for more: Unable to allocate 3.5 GiB")
