"""What a body may be: nesting, escapes, codings, memory shared by all; no server needed."""

import asyncio
import gzip
import json
from collections.abc import Callable

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from ingestion_assets.conversations.envelope import EnvelopeError, messages_in_batch, single_message
from ingestion_assets.frontdoor.bodies import BodyReader
from ingestion_assets.frontdoor.body_memory import BodyMemory
from ingestion_assets.frontdoor.depth import deeper_than
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.request_headers import Waiting, idempotency_key, waiting
from ingestion_assets.landing.json_text import decode, replace_lone_surrogates
from ingestion_assets.settings import Settings

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(alphabet='[]{}"\\ab\ud800é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\x', max_size=3), inner, max_size=3),
    max_leaves=30,
)  # fmt: skip


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(value=ANY_JSON, limit=st.integers(0, 8), indent=st.sampled_from([None, 1]))
@settings(max_examples=500, deadline=None)
def test_depth_is_exact(value: object, limit: int, indent: int | None) -> None:
    body = json.dumps(value, indent=indent).encode()
    assert deeper_than(body, limit) == (depth_of(value) > limit)


@given(messages=st.lists(ANY_JSON, min_size=1, max_size=4), other=ANY_JSON, limit=st.integers(0, 8))
@settings(max_examples=500, deadline=None)
def test_depth_is_exact_when_parts_are_known(messages: list[object], other: object, limit: int) -> None:
    batch = {"other": other, "messages": messages}
    body = json.dumps(batch).encode()
    found = deeper_than(body, limit, parts=messages_in_batch(body)[0], level=2)
    assert found == (depth_of(batch) > limit)


@pytest.mark.parametrize(
    ("depth", "width"), [(1, 3), (4, 5), (5, 2), (199, 1), (200, 1), (201, 1), (3, 200_000)]
)
def test_depth_of_regular_trees(depth: int, width: int) -> None:
    body = b"[" + b",".join([b"[" * (depth - 1) + b"]" * (depth - 1)] * width) + b"]"
    assert deeper_than(body, 200) == (depth > 200)
    assert deeper_than(body, depth - 1)
    assert not deeper_than(body, depth)


@given(value=ANY_JSON)
@settings(max_examples=300, deadline=None)
def test_escapes_of_lone_surrogates_are_no_error(value: object) -> None:
    body = json.dumps({"value": value}).encode()
    decoded = decode(body, msgspec.json.Decoder(dict[str, object]))
    expected = json.loads(json.dumps({"value": value}).encode().decode("ascii"))
    text = (
        json.dumps(expected, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
    assert decoded == json.loads(text)
    assert len(replace_lone_surrogates(body)) == len(body)


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (None, Waiting(30)),
        ("respond-async", Waiting(0, "respond-async")),
        ("wait=5", Waiting(5, "wait=5")),
        ("WAIT = 5 ; x=y, handling=lenient", Waiting(5, "wait=5")),
        ('wait="7"', Waiting(7, "wait=7")),
        ("respond-async, wait=3", Waiting(3, "respond-async, wait=3")),
        ("wait=999", Waiting(120, "wait=120")),
        ("wait=3, wait=9", Waiting(3, "wait=3")),
        ("wait=-1", Waiting(30)),
        ("wait=soon", Waiting(30)),
        ("return=minimal", Waiting(30)),
        (",,;=", Waiting(30)),
    ],
)
def test_prefer(prefer: str | None, expected: Waiting) -> None:
    given = None if prefer is None else prefer.encode()
    assert waiting(given, default_s=30, max_s=120) == expected


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (None, None),
        ("abc", "abc"),
        ('"a b"', "a b"),
        (" x ", "x"),
        ("a b\t", "a b"),
        ("k" * 255, "k" * 255),
        (r'"a\"\\b"', r'a"\b'),
        ('a"b', 'a"b'),
        ('"' + "k" * 255 + '"', "k" * 255),
    ],
)
def test_idempotency_keys(value: str | None, key: str | None) -> None:
    assert idempotency_key(value) == key


@pytest.mark.parametrize("value", ["", '""', '"a', r'"\a"', "k" * 256, "ключ", "a\tb", " ", "a\n"])
def test_bad_idempotency_keys(value: str) -> None:
    with pytest.raises(Problem) as caught:
        idempotency_key(value)
    assert caught.value.status == 400


@given(
    messages=st.lists(ANY_JSON, max_size=5),
    todos=st.integers(0, 2),
    config=st.sampled_from([None, {}, {"settings": {"a": 1}}]),
)
@settings(max_examples=200, deadline=None)
def test_a_batch_is_counted_or_empty(messages: list[object], todos: int, config: object) -> None:
    todo = {"sessionId": "s", "filename": "f", "todos": []}
    body = json.dumps({"messages": messages, "todos": [todo] * todos, "config": config}).encode()
    if messages or todos or config:
        assert len(messages_in_batch(body)[0]) == len(messages)
    else:
        with pytest.raises(EnvelopeError) as caught:
            messages_in_batch(body)
        assert caught.value.status == 400


@pytest.mark.parametrize("filler", [b"1", b"[" + b"0," * 100 + b"0]"], ids=["short", "long"])
@pytest.mark.parametrize("count", [999, 1000, 1001])
def test_the_limit_of_a_batch_is_exact(filler: bytes, count: int) -> None:
    body = b'{"messages":[' + b",".join([filler] * count) + b"]}"
    if count <= 1000:
        assert len(messages_in_batch(body)[0]) == count
        return
    with pytest.raises(EnvelopeError) as caught:
        messages_in_batch(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("body", "status"), [(b"[]", 422), (b"null", 422), (b"", 400), (b"{", 400), (b'{"a":01}', 400)]
)
def test_a_single_message_is_an_object(body: bytes, status: int) -> None:
    with pytest.raises(EnvelopeError) as caught:
        single_message(body)
    assert caught.value.status == status


def read(
    body: bytes, cut: Callable[[bytes], list[bytes]], coding: str = "identity", **limits: object
) -> bytes:
    reader = BodyReader(Settings(_env_file=None, **limits))
    memory = BodyMemory(limit_bytes=2**30)
    chunks = cut(body)

    async def receive() -> dict[str, object]:
        chunk = chunks.pop(0) if chunks else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def run() -> bytes:
        with memory.reserve() as reservation:
            result = await reader.read(receive, {b"content-encoding": coding.encode()}, reservation)
            assert reservation.size == len(result) == memory.used_bytes
        assert memory.used_bytes == 0
        return result

    return asyncio.run(run())


@given(
    body=st.binary(max_size=3000),
    size=st.integers(1, 700),
    coding=st.sampled_from(["identity", "gzip", "zstd"]),
)
@settings(max_examples=100, deadline=None)
def test_bodies_come_out_as_they_were(body: bytes, size: int, coding: str) -> None:
    packed = {"identity": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[coding](body)
    assert (
        read(packed, lambda data: [data[at : at + size] for at in range(0, len(data), size)], coding) == body
    )


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_and_frames_may_follow_each_other(coding: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress}[coding]
    body = bytes(3_000_000)
    assert read(pack(body) + pack(b"end"), lambda data: [data], coding) == body + b"end"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"x" + data, lambda _: b""])
def test_damaged_bodies_are_400(coding: str, damage: Callable[[bytes], bytes]) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress}[coding]
    with pytest.raises(Problem) as caught:
        read(damage(pack(b"some text " * 50)), lambda data: [data], coding)
    assert caught.value.status == 400


def stream_of_zstd(body: bytes) -> bytes:
    """As a program pipes it: the frame does not say how large it is."""
    writer = zstandard.ZstdCompressor().compressobj()
    half = len(body) // 2
    first = writer.compress(body[:half]) + writer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return first + writer.compress(body[half:]) + writer.flush()


@pytest.mark.parametrize("cut", [1, 3, 10, 400])
def test_half_a_body_is_never_taken_for_a_whole_one(cut: int) -> None:
    body = json.dumps([str(number * 7919) for number in range(1000)]).encode()
    packed = stream_of_zstd(body)
    assert read(packed, lambda data: [data], "zstd") == body
    for damaged in (packed[:-cut], packed + packed[:-cut]):
        with pytest.raises(Problem, match="ends too early") as caught:
            read(damaged, lambda data: [data], "zstd")
        assert caught.value.status == 400


@pytest.mark.parametrize(("coding", "size"), [("identity", 1001), ("gzip", 5001), ("zstd", 5001)])
def test_limits_are_exact(coding: str, size: int) -> None:
    pack = {"identity": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[coding]
    limits = {"max_body_bytes": 1000, "max_decoded_bytes": 5000}
    assert read(pack(bytes(size - 1)), lambda data: [data], coding, **limits) == bytes(size - 1)
    with pytest.raises(Problem) as caught:
        read(pack(bytes(size)), lambda data: [data], coding, **limits)
    assert caught.value.status == 413


def test_wide_zstd_windows_are_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    body = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(Problem) as caught:
        read(body.compress(bytes(2**20)) + body.flush(), lambda data: [data], "zstd")
    assert caught.value.status == 413


def test_a_sender_that_leaves_is_noticed() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def run() -> None:
        reader = BodyReader(Settings(_env_file=None))
        with BodyMemory(limit_bytes=10).reserve() as reservation:
            await reader.read(receive, {}, reservation)

    with pytest.raises(ClientDisconnect):
        asyncio.run(run())


def test_memory_is_given_in_turn_and_deadlocks_are_broken() -> None:
    async def story() -> None:
        memory = BodyMemory(limit_bytes=100, patience_s=0.2)
        with memory.reserve() as first, memory.reserve() as second, memory.reserve() as third:
            await first.grow(60)
            await second.grow(40)
            waits = asyncio.create_task(third.grow(30))
            await asyncio.sleep(0)
            assert not waits.done()
            first.shrink(40)
            await waits
            with pytest.raises(Problem) as patience:
                await third.grow(60)
            assert patience.value.headers["Retry-After"]
            late = asyncio.create_task(second.grow(50))
            also = asyncio.create_task(first.grow(50))
            await asyncio.sleep(0)
            with pytest.raises(Problem) as broken:
                await third.grow(50)
            assert broken.value.status == 503
            late.cancel()
            also.cancel()
            await asyncio.gather(late, also, return_exceptions=True)
        assert memory.used_bytes == 0
        with memory.reserve() as again:
            await again.grow(100)

    asyncio.run(story())
