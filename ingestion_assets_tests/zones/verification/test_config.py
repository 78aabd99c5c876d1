"""What a zone may say of its sender, and what is answered to what it may not."""

from typing import Any

import pytest

from ingestion_assets.zones.verification.config import (
    ConfigError,
    Github,
    Hmac,
    StandardWebhooks,
    Stripe,
    keys_of,
    read_config,
)
from ingestion_assets.zones.verification.handshakes import handshake


def test_each_kind_is_read() -> None:
    assert read_config({"kind": "stripe"}) == Stripe()
    assert read_config({"kind": "stripe", "tolerance_s": 60}) == Stripe(tolerance_s=60)
    assert read_config({"kind": "github"}) == Github()
    assert read_config({"kind": "hmac", "header": "X-Sig", "signed": "{body}"}) == Hmac(
        header="X-Sig", signed="{body}"
    )
    assert {type(read_config({"kind": kind})) for kind in ("standard-webhooks", "shopify", "slack")}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "needs a `kind`, one of github, hmac"),
        ({"kind": "paypal"}, "there is no 'paypal'"),
        ({"kind": "stripe", "tolerance": 3}, "unknown field `tolerance`. Beside kind and secret, stripe takes tolerance_s"),
        ({"kind": "github", "tolerance_s": 3}, "github takes nothing else"),
        ({"kind": "stripe", "tolerance_s": 0}, "from 1 to 86400"),
        ({"kind": "stripe", "tolerance_s": "soon"}, "Expected `float`"),
        ({"kind": "hmac"}, "missing required field `header`"),
        ({"kind": "hmac", "header": "X Sig"}, "`header` is the name of a header"),
        ({"kind": "hmac", "header": "X-Sig", "algorithm": "md5"}, "Invalid enum value 'md5'"),
        ({"kind": "hmac", "header": "X-Sig", "encoding": "base32"}, "Invalid enum value 'base32'"),
        ({"kind": "hmac", "header": "X-Sig", "prefix": "a,b"}, "without comma"),
        ({"kind": "hmac", "header": "X-Sig", "prefix": " a"}, "the first one visible"),
        ({"kind": "hmac", "header": "X-Sig", "signed": "{timestamp}.{body}"}, "`timestamp_header` says where"),
        ({"kind": "hmac", "header": "X-Sig", "signed": "{id}.{body}"}, "`id_header` says where"),
        ({"kind": "hmac", "header": "X-Sig", "signed": "{url}.{body}"}, "{url}, but there is no such thing"),
        ({"kind": "hmac", "header": "X-Sig", "signed": "fixed"}, "{body} once"),
        ({"kind": "hmac", "header": "X-Sig", "signed": "{body}{body}"}, "{body} once"),
        ({"kind": "hmac", "header": "X-Sig", "timestamp_header": "X-T", "signed": "{body}"}, "lacks {timestamp}"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_sentence(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(written)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "secrets", "said"),
    [
        ("stripe", [], "no secret"), ("stripe", [""], "secret 1 of `verify` is empty"),
        ("stripe", ["good", "s3cret\n"], "secret 2 of `verify` is empty, or begins or ends with white space"),
        ("standard-webhooks", ["whsec_s3cret!"], "`whsec_` and base64"), ("standard-webhooks", ["whsec_"], "is empty"),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_be_is_not_repeated(kind: str, secrets: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keys_of(read_config({"kind": kind}), secrets)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_secrets_are_those_that_senders_show() -> None:
    assert keys_of(Stripe(), ["whsec_a"]) == [b"whsec_a"]
    assert (
        keys_of(StandardWebhooks(), ["whsec_aGVsbG8="])
        == keys_of(StandardWebhooks(), ["aGVsbG8="])
        == [b"hello"]
    )


def test_slack_gets_its_challenge_back() -> None:
    slack = read_config({"kind": "slack"})
    answer = handshake(slack, {}, b'{"type":"url_verification","token":"t","challenge":"3eZb\\u00e9"}')
    assert answer is not None
    assert answer.body.decode() == '{"challenge":"3eZbé"}'
    for body in (
        b"{}",
        b"",
        b"[" * 100_000,
        b'{"type":"event_callback","challenge":"x"}',
        b'{"type":"url_verification"}',
    ):
        assert handshake(slack, {}, body) is None


def test_github_is_told_that_its_ping_came() -> None:
    ping = b'{"zen": "Keep it logically awesome.", "hook_id": 1}'
    assert handshake(Github(), {b"x-github-event": b"ping"}, ping) is not None
    assert handshake(Github(), {b"x-github-event": b"push"}, ping) is None
    assert handshake(Github(), {b"x-github-event": b"ping"}, b'{"ref": "refs/heads/main"}') is None
    assert handshake(Stripe(), {b"x-github-event": b"ping"}, ping) is None
