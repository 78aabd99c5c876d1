"""Genuine deliveries pass, whatever is changed in them does not, and no bytes do harm."""

import base64
import hmac
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from ingestion_assets.zones.verification.config import Hmac, Slack, StandardWebhooks, keys_of
from ingestion_assets.zones.verification.senders import UnverifiedError
from ingestion_assets.zones.verification.verifying import Verified, reused_id, verify
from ingestion_assets_tests.zones.verification.vectors import AT, VECTORS, Vector

TIMED = [vector for vector in VECTORS if vector.signed or vector.name == "stripe"]
CODES = {
    f"{what}_{of}" for what in ("missing", "malformed") for of in ("signature", "timestamp", "id")
} | {"no_secret", "wrong_algorithm", "wrong_signature", "stale_timestamp", "future_timestamp"}  # fmt: skip

each = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
each_timed = pytest.mark.parametrize("vector", TIMED, ids=lambda vector: vector.name)


def checked(
    vector: Vector,
    *,
    headers: dict[bytes, bytes] | None = None,
    body: bytes | None = None,
    secrets: list[str] | None = None,
    later_s: float = 0,
) -> Verified:
    keys = keys_of(vector.config, [vector.secret] if secrets is None else secrets)
    now = datetime.fromtimestamp(vector.at, UTC) + timedelta(seconds=later_s)
    return verify(
        vector.config, keys, vector.headers | (headers or {}), vector.body if body is None else body, now
    )


def refused(vector: Vector, **changes: object) -> str:
    """The code; the error tells neither secret nor the right signature."""
    with pytest.raises(UnverifiedError) as caught:
        checked(vector, **changes)  # type: ignore[arg-type]
    error = caught.value
    assert error.code in CODES
    assert vector.secret not in str(error)
    assert signature(vector).decode() not in str(error)
    return error.code


def signature(vector: Vector) -> bytes:
    """Without its scheme."""
    return (
        vector.headers[vector.header].rpartition(vector.scheme)[2]
        if vector.scheme
        else vector.headers[vector.header]
    )


def with_signature(vector: Vector, changed: bytes) -> dict[bytes, bytes]:
    return {vector.header: vector.headers[vector.header].replace(signature(vector), changed)}


@each
def test_a_published_signature_passes(vector: Vector) -> None:
    verified = checked(vector)
    assert verified.delivery_id == vector.delivery_id
    assert verified.timestamp == (datetime.fromtimestamp(vector.at, UTC) if vector in TIMED else None)
    assert vector.key is None or verified.idempotency_key == vector.key


@each
def test_any_changed_byte_of_the_body_is_refused(vector: Vector) -> None:
    for at in range(len(vector.body)):
        body = bytearray(vector.body)
        body[at] ^= 1
        assert refused(vector, body=bytes(body)) == "wrong_signature"
    for body in (b"", vector.body[:-1], vector.body + b"\n", b" " + vector.body):
        assert refused(vector, body=body) == "wrong_signature"


@each
def test_any_changed_byte_of_the_signature_is_refused(vector: Vector) -> None:
    right = signature(vector)
    for at in range(len(right)):
        for other in (b"0", b"1", b"A", b"z", b"\xff", b"\0"):
            if right[at : at + 1].lower() == other.lower() == b"a" and right.isalnum():
                continue  # hexadecimal, in which the case says nothing
            if right[at : at + 1] != other:
                changed = right[:at] + other + right[at + 1 :]
                assert refused(vector, headers=with_signature(vector, changed)) in {
                    "wrong_signature", "malformed_signature", "wrong_algorithm",
                }  # fmt: skip


@each
def test_a_signature_that_is_cut_off_or_written_otherwise_is_malformed(vector: Vector) -> None:
    right = signature(vector)
    as_base64 = right.endswith(b"=")
    digest = base64.b64decode(right) if as_base64 else bytes.fromhex(right.decode())
    otherwise = digest.hex().encode() if as_base64 else base64.b64encode(digest)
    for changed in (
        right[:-1],
        right[:-4],
        right + right,
        right + b"0",
        otherwise,
        digest,
        "ä".encode() * 32,
    ):
        code = refused(vector, headers=with_signature(vector, changed))
        assert code in {"malformed_signature", "wrong_signature"}, changed


@each
def test_an_absent_or_empty_signature_is_missing(vector: Vector) -> None:
    for value in (b"", b" ", b"\t"):
        assert refused(vector, headers={vector.header: value}) == "missing_signature"


@pytest.mark.parametrize(
    "vector", [one for one in VECTORS if one.other_schemes], ids=lambda vector: vector.name
)
def test_another_algorithm_is_refused_even_where_its_signature_is_there(vector: Vector) -> None:
    for other in vector.other_schemes:
        assert refused(vector, headers={vector.header: other}) == "wrong_algorithm"


def test_sha1_of_github_is_refused_even_where_it_is_right() -> None:
    [github] = [vector for vector in VECTORS if vector.name == "github"]
    old = b"sha1=" + hmac.new(github.secret.encode(), github.body, "sha1").hexdigest().encode()
    headers = {name: value for name, value in github.headers.items() if name != github.header}
    with pytest.raises(UnverifiedError) as caught:
        verify(
            github.config,
            [github.secret.encode()],
            headers | {b"x-hub-signature": old},
            github.body,
            datetime.now(UTC),
        )
    assert caught.value.code == "wrong_algorithm"


@each_timed
def test_time_counts_within_the_tolerance(vector: Vector) -> None:
    for later_s in (300, -300):
        checked(vector, later_s=later_s)
    assert refused(vector, later_s=301) == "stale_timestamp"
    assert refused(vector, later_s=-301) == "future_timestamp"


@each_timed
def test_a_time_that_was_renewed_is_refused(vector: Vector) -> None:
    """Who has an old delivery cannot give it a new time."""
    new = str(vector.at + 3600).encode()
    if vector.name == "stripe":
        renewed = {vector.header: vector.headers[vector.header].replace(str(vector.at).encode(), new)}
    else:
        renewed = {vector.signed[-1]: new}
    assert refused(vector, headers=renewed, later_s=3600) == "wrong_signature"


@pytest.mark.parametrize("vector", [one for one in VECTORS if one.signed], ids=lambda vector: vector.name)
def test_headers_that_are_signed_must_be_there_and_unchanged(vector: Vector) -> None:
    for name in vector.signed:
        what = "id" if name.endswith(b"-id") else "timestamp"
        assert refused(vector, headers={name: b""}) == f"missing_{what}"
        assert refused(vector, headers={name: b"1" + vector.headers[name]}) == "wrong_signature"
        if what == "timestamp":
            for bad in (
                b"now",
                b"-1",
                b"+1",
                b"1e9",
                b"1_0",
                b"1.5",
                b"1" * 14,
                "\u0661".encode(),
                b"\xff",
                b"nan",
            ):
                assert refused(vector, headers={name: bad}) == "malformed_timestamp"


def test_a_full_stop_in_an_id_is_refused() -> None:
    """`a.1` at 2 with the body `b` is signed like `a` at 1 with the body `2.b`."""
    config = StandardWebhooks()
    key, body = b"k" * 24, b'{"a": 1}'
    signed = base64.b64encode(hmac.new(key, b"a.1." + str(AT).encode() + b"." + body, "sha256").digest())
    headers = {
        b"webhook-id": b"a.1",
        b"webhook-timestamp": str(AT).encode(),
        b"webhook-signature": b"v1," + signed,
    }
    with pytest.raises(UnverifiedError) as caught:
        verify(config, [key], headers, body, datetime.fromtimestamp(AT, UTC))
    assert caught.value.code == "malformed_id"


@each
def test_any_of_several_secrets_may_have_signed(vector: Vector) -> None:
    other = "whsec_" + base64.b64encode(b"another secret of 24 byte").decode()
    assert checked(vector, secrets=[other, vector.secret]) == checked(vector)
    assert checked(vector, secrets=[vector.secret, other]) == checked(vector)
    assert refused(vector, secrets=[other]) == "wrong_signature"


@each
def test_without_secret_nothing_passes(vector: Vector) -> None:
    with pytest.raises(UnverifiedError) as caught:
        verify(vector.config, [], vector.headers, vector.body, datetime.fromtimestamp(vector.at, UTC))
    assert caught.value.code == "no_secret"


@pytest.mark.parametrize("name", ["stripe", "standard-webhooks", "hmac-sha512"])
def test_each_signature_of_a_header_is_tried(name: str) -> None:
    [vector] = [one for one in VECTORS if one.name == name]
    right = vector.headers[vector.header]
    genuine = vector.scheme + signature(vector)
    wrong = vector.scheme + (b"0" * (len(signature(vector)) - 1)) + signature(vector)[-1:]
    between = b" " if name == "standard-webhooks" else b","
    others = [wrong, vector.scheme + b"short", vector.scheme, *vector.other_schemes, b"", b"nonsense"]
    if name == "stripe":
        others = [one for one in others if not one.startswith(b"t=")]
    before = right.replace(genuine, between.join([*others, genuine]))
    after = right.replace(genuine, between.join([genuine, *others]))
    for several in (before, after):
        assert checked(vector, headers={vector.header: several}) == checked(vector)
    assert (
        refused(vector, headers={vector.header: right.replace(genuine, between.join([wrong, wrong]))})
        == "wrong_signature"
    )


def test_hexadecimal_may_be_in_capitals() -> None:
    [vector] = [one for one in VECTORS if one.name == "github"]
    assert checked(vector, headers=with_signature(vector, signature(vector).upper())) == checked(vector)


def test_stripe_has_one_time_only() -> None:
    """Of two times, it would not be sure which was signed."""
    [vector] = [one for one in VECTORS if one.name == "stripe"]
    for more in (b"t=1,", b"t=1614265330,"):
        assert (
            refused(vector, headers={vector.header: more + vector.headers[vector.header]})
            == "missing_timestamp"
        )


def test_the_key_is_the_same_when_a_delivery_is_tried_again_later() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    config = StandardWebhooks()
    keys = []
    for seconds in (0, 3600):
        at = datetime.fromtimestamp(AT + seconds, UTC)
        headers = {
            b"webhook-id": b"msg_1", b"webhook-timestamp": str(AT + seconds).encode(),
            b"webhook-signature": Webhook(secret).sign("msg_1", at, "{}").encode(),
        }  # fmt: skip
        keys.append(verify(config, keys_of(config, [secret]), headers, b"{}", at).idempotency_key)
    assert keys == ["msg_1", "msg_1"]


def test_an_id_in_the_body_whose_rest_differs_is_another_payload() -> None:
    """Stripe counts the deliveries that are still to come in it: a second try is no conflict."""
    keys = set()
    for pending in (2, 1, 1):
        body = b'{"id":"Ev1","event_id":"Ev1","pending_webhooks":%d}' % pending
        right = hmac.new(b"s", b"v0:%d:%s" % (AT, body), "sha256").hexdigest().encode()
        headers = {b"x-slack-request-timestamp": str(AT).encode(), b"x-slack-signature": b"v0=" + right}
        keys.add(verify(Slack(), [b"s"], headers, body, datetime.fromtimestamp(AT, UTC)).idempotency_key)
    assert len(keys) == 2


@pytest.mark.parametrize("given", [b"a b", "ü".encode(), b"a\tb", b"x" * 201])
@pytest.mark.parametrize("name", ["standard-webhooks", "github", "shopify", "hmac-sha512"])
def test_an_id_that_can_be_none_is_refused(name: str, given: bytes) -> None:
    """Else each try is a payload of its own, though the sender named it."""
    vector = next(one for one in VECTORS if one.name == name)
    (header,) = [one for one, value in vector.headers.items() if value == (vector.delivery_id or "").encode()]
    headers = {header: given}
    if name == "standard-webhooks":
        signed = given + b".%d." % vector.at + vector.body
        (key,) = keys_of(vector.config, [vector.secret])
        headers[vector.header] = b"v1," + base64.b64encode(hmac.new(key, signed, "sha256").digest())
    assert refused(vector, headers=headers) == "malformed_id"


def test_signatures_after_a_prefix_with_a_blank_are_parted_by_commas() -> None:
    config = Hmac(header="Authorization", prefix="Bearer ")
    right = hmac.new(b"s", b"{}", "sha256").hexdigest().encode()
    for shown in (b"Bearer " + right, b"Bearer " + b"0" * 64 + b", Bearer " + right):
        verify(config, [b"s"], {b"authorization": shown}, b"{}", datetime.fromtimestamp(AT, UTC))
    with pytest.raises(UnverifiedError):
        verify(config, [b"s"], {b"authorization": right}, b"{}", datetime.fromtimestamp(AT, UTC))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"[" * 100_000, b'{"event_id": 1}', b'{"event_id": "\\u0000"}', b"\xff",
        b'{"event_id":"' + b"x" * 300 + b'"}',
    ],
)  # fmt: skip
def test_what_has_no_usable_id_goes_by_all_that_was_signed(body: bytes) -> None:
    signed = b"v0:%d:%s" % (AT, body)
    headers = {
        b"x-slack-request-timestamp": str(AT).encode(),
        b"x-slack-signature": b"v0=" + hmac.new(b"s", signed, "sha256").hexdigest().encode(),
    }
    verified = verify(Slack(), [b"s"], headers, body, datetime.fromtimestamp(AT, UTC))
    assert (verified.delivery_id, verified.idempotency_key) == (None, f"sha256:{sha256(signed).hexdigest()}")


def test_milliseconds_are_told_from_seconds() -> None:
    config = Hmac(header="X-Sig", timestamp_header="X-Time")
    at = b"%d" % (AT * 1000 + 250)
    headers = {b"x-time": at, b"x-sig": hmac.new(b"s", at + b".{}", "sha256").hexdigest().encode()}
    verified = verify(config, [b"s"], headers, b"{}", datetime.fromtimestamp(AT, UTC))
    assert verified.timestamp == datetime.fromtimestamp(AT + 0.25, UTC)


def test_a_reused_id_has_a_code_of_its_own() -> None:
    assert reused_id().code == "reused_id"


texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(secret=texts, body=st.binary(max_size=200), delivery=texts.filter(lambda text: "." not in text))
def test_what_the_library_of_standard_webhooks_signs_passes(secret: str, body: bytes, delivery: str) -> None:
    at = datetime.fromtimestamp(AT, UTC)
    shown = "whsec_" + base64.b64encode(secret.encode()).decode()
    text = body.decode("latin-1")
    headers = {
        b"webhook-id": delivery.encode(), b"webhook-timestamp": str(AT).encode(),
        b"webhook-signature": Webhook(shown).sign(delivery, at, text).encode(),
    }  # fmt: skip
    config = StandardWebhooks()
    assert verify(config, keys_of(config, [shown]), headers, text.encode(), at).delivery_id == delivery


@given(
    algorithm=st.sampled_from(["sha1", "sha256", "sha512"]), encoding=st.sampled_from(["hex", "base64"]),
    prefix=st.sampled_from(["", "v1=", "sha256=", "Signature:", "Bearer ", "HMAC key id "]), before=st.text(st.sampled_from("v0:.-ä"), max_size=5),
    with_id=st.booleans(), body=st.binary(max_size=100), secret=texts,
)  # fmt: skip
def test_what_is_described_is_what_is_checked(
    algorithm: str, encoding: str, prefix: str, before: str, with_id: bool, body: bytes, secret: str
) -> None:
    signed = before + ("{id}|" if with_id else "") + "{timestamp}{body}"
    config = Hmac(
        header="X-Sig", algorithm=algorithm, encoding=encoding, prefix=prefix, timestamp_header="X-Time",  # type: ignore[arg-type]
        id_header="X-Id" if with_id else None, signed=signed,
    )  # fmt: skip
    content = before.encode() + (b"d1|" if with_id else b"") + b"%d" % AT + body
    digest = hmac.new(secret.encode(), content, algorithm)
    written = digest.hexdigest().encode() if encoding == "hex" else base64.b64encode(digest.digest())
    headers = {b"x-sig": prefix.encode() + written, b"x-time": b"%d" % AT, b"x-id": b"d1"}
    at = datetime.fromtimestamp(AT, UTC)
    assert verify(config, [secret.encode()], headers, body, at).delivery_id == ("d1" if with_id else None)
    with pytest.raises(UnverifiedError):
        verify(config, [secret.encode()], headers, body + b"x", at)


@given(
    vector=st.sampled_from(VECTORS),
    changes=st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=120)), max_size=3),
    body=st.none() | st.binary(max_size=60),
)
@example(vector=VECTORS[0], changes=[(0, b"t=,v1=")], body=None)
@example(vector=VECTORS[0], changes=[(0, b",=,t")], body=None)
def test_no_bytes_do_harm_or_pass(
    vector: Vector, changes: list[tuple[int, bytes]], body: bytes | None
) -> None:
    names = [*vector.headers, b"webhook-signature", b"svix-signature", b"x-hub-signature"]
    headers = {names[at % len(names)]: value for at, value in changes}
    try:
        verified = checked(vector, headers=headers, body=body)
    except UnverifiedError as error:
        assert error.code in CODES
    else:
        assert verified.timestamp == (datetime.fromtimestamp(vector.at, UTC) if vector in TIMED else None)
        assert body in {None, vector.body}
        assert all(
            headers.get(name, vector.headers[name]).strip() == vector.headers[name] for name in vector.signed
        )
        assert signature(vector) in headers.get(vector.header, vector.headers[vector.header])
