"""Signatures that senders have published, or that their own libraries have made."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingestion_assets.zones.verification.config import (
    Config,
    Github,
    Hmac,
    Shopify,
    Slack,
    StandardWebhooks,
    Stripe,
)

AT = 1614265330


@dataclass(frozen=True, slots=True)
class Vector:
    """A genuine delivery of the time `at`. `header` has the signature, behind `scheme`; `signed` names the headers that are signed too."""

    name: str
    config: Config
    secret: str
    headers: dict[bytes, bytes]
    body: bytes
    header: bytes
    scheme: bytes = b""
    signed: Sequence[bytes] = ()
    delivery_id: str | None = None
    key: str | None = None
    at: int = AT
    other_schemes: Sequence[bytes] = field(default=())


_SLACK_FORM = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    b"803a0bc887a14d10d2c447fce8b6703c"
)

VECTORS = [
    # Made by stripe 16.1.0, `WebhookSignature._compute_signature`.
    Vector(
        "stripe", Stripe(), "whsec_test_secret",
        {b"stripe-signature": b"t=1614265330,v1=64776382e3b272a50ff9d6821bb74452794757d5dd79f1b091f36be25190d080"},
        b'{"id": "evt_test_webhook", "object": "event"}',
        b"stripe-signature", b"v1=", delivery_id="evt_test_webhook", key="evt_test_webhook:7b0453c50a2a2c03",
        other_schemes=[b"t=1614265330,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"],
    ),
    # In the tests of Svix's and standardwebhooks.com's libraries.
    Vector(
        "standard-webhooks", StandardWebhooks(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        {
            b"webhook-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek", b"webhook-timestamp": b"1614265330",
            b"webhook-signature": b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}', b"webhook-signature", b"v1,", signed=[b"webhook-id", b"webhook-timestamp"],
        delivery_id="msg_p5jXN8AQM9LWM0D4loKWxJek", key="msg_p5jXN8AQM9LWM0D4loKWxJek",
        other_schemes=[b"v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="],
    ),
    Vector(
        "svix", StandardWebhooks(), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        {
            b"svix-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek", b"svix-timestamp": b"1614265330",
            b"svix-signature": b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}', b"svix-signature", b"v1,", signed=[b"svix-id", b"svix-timestamp"],
        delivery_id="msg_p5jXN8AQM9LWM0D4loKWxJek", key="msg_p5jXN8AQM9LWM0D4loKWxJek",
        other_schemes=[b"v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="],
    ),
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    Vector(
        "github", Github(), "It's a Secret to Everybody",
        {
            b"x-hub-signature-256": b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            b"x-github-delivery": b"72d3162e-cc78-11e3-81ab-4c9367dc0958",
        },
        b"Hello, World!", b"x-hub-signature-256", b"sha256=", delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958",
        key="72d3162e-cc78-11e3-81ab-4c9367dc0958", other_schemes=[b"sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"],
    ),
    # Shopify publishes none; this one is in the tests of SQLPage (sqlpage.hmac).
    Vector(
        "shopify", Shopify(), "test-webhook-secret",
        {
            b"x-shopify-hmac-sha256": b"QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=",
            b"x-shopify-webhook-id": b"b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
        },
        b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}', b"x-shopify-hmac-sha256",
        delivery_id="b54557e4-bdd9-4b37-8a5f-bf7d70bcd043", key="b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
    ),
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    Vector(
        "slack", Slack(), "8f742231b10e8888abcd99yyyzzz85a5",
        {
            b"x-slack-request-timestamp": b"1531420618",
            b"x-slack-signature": b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
        _SLACK_FORM, b"x-slack-signature", b"v0=", signed=[b"x-slack-request-timestamp"], at=1531420618,
        other_schemes=[b"v1=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"],
    ),
    # Made by slack_sdk 3.48.0, `SignatureVerifier.generate_signature`.
    Vector(
        "slack-event", Slack(), "8f742231b10e8888abcd99yyyzzz85a5",
        {
            b"x-slack-request-timestamp": b"1614265330",
            b"x-slack-signature": b"v0=9a3d66b474d3e2347b34cabcc893ead043eddadedd27961ac1de21d2176aeeee",
        },
        '{"token":"t","type":"event_callback","event_id":"Ev0PV52K21","event":{"type":"app_mention","text":"héllo"}}'.encode(),
        b"x-slack-signature", b"v0=", signed=[b"x-slack-request-timestamp"],
        delivery_id="Ev0PV52K21", key="Ev0PV52K21:11f0fc02cb90e4b8",
        other_schemes=[b"v1=9a3d66b474d3e2347b34cabcc893ead043eddadedd27961ac1de21d2176aeeee"],
    ),
    # RFC 4231, test case 2, whose signature is written as the sender's.
    Vector(
        "hmac-sha512", Hmac(header="X-Signature", algorithm="sha512", prefix="sha512=", id_header="X-Id"), "Jefe",
        {
            b"x-id": b"1",
            b"x-signature": b"sha512=164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd"
            b"caeab1a34d4a6b4b636e070a38bce737",
        },
        b"what do ya want for nothing?", b"x-signature", b"sha512=", delivery_id="1", key="1",
        other_schemes=[b"sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"],
    ),
    # RFC 2202, test case 2.
    Vector(
        "hmac-sha1", Hmac(header="X-Signature", algorithm="sha1"), "Jefe",
        {b"x-signature": b"effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
        b"what do ya want for nothing?", b"x-signature",
        key="sha256:b381e7fec653fc3ab9b178272366b8ac87fed8d31cb25ed1d0e1f3318644c89c",
    ),
    # Slack's again, as another sender would have to be described.
    Vector(
        "hmac-timed",
        Hmac(
            header="X-Slack-Signature", prefix="v0=", timestamp_header="X-Slack-Request-Timestamp",
            signed="v0:{timestamp}:{body}",
        ),
        "8f742231b10e8888abcd99yyyzzz85a5",
        {
            b"x-slack-request-timestamp": b"1531420618",
            b"x-slack-signature": b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
        _SLACK_FORM, b"x-slack-signature", b"v0=", signed=[b"x-slack-request-timestamp"], at=1531420618,
        other_schemes=[b"v1=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"],
    ),
]  # fmt: skip
