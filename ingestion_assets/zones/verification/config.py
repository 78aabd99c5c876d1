"""What a zone says of how its sender signs: one struct for each kind. Secrets are not in it, they are kept apart and sealed."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

TOLERANCE_S = 300.0

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_PREFIX = re.compile(
    r"([!-+\--~][ -+\--~]{0,39})?"
)  # visible and blanks, without the comma, which separates signatures
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


class ConfigError(ValueError):
    """A way of signing that cannot be; says what is wrong and what to do."""


class _Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class _Timed(_Config, frozen=True, kw_only=True):
    """`tolerance_s`: how many seconds the sender's time may be away from ours."""

    tolerance_s: float = TOLERANCE_S

    def __post_init__(self) -> None:
        if not 1 <= self.tolerance_s <= 86_400:
            raise ValueError(
                f"`tolerance_s` is a number of seconds from 1 to 86400, not {self.tolerance_s:g}"
            )


class Stripe(_Timed, frozen=True, kw_only=True, tag="stripe"):
    """https://docs.stripe.com/webhooks#verify-manually"""


class StandardWebhooks(_Timed, frozen=True, kw_only=True, tag="standard-webhooks"):
    """https://www.standardwebhooks.com, and Svix, which it comes from. Its symmetric signatures, `v1`."""


class Slack(_Timed, frozen=True, kw_only=True, tag="slack"):
    """https://docs.slack.dev/authentication/verifying-requests-from-slack"""


class Github(_Config, frozen=True, kw_only=True, tag="github"):
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""


class Shopify(_Config, frozen=True, kw_only=True, tag="shopify"):
    """https://shopify.dev/docs/apps/build/webhooks/verify-deliveries"""


class Hmac(_Timed, frozen=True, kw_only=True, tag="hmac"):
    """Any other sender with a shared secret.

    `header` has the signature, or several with commas or blanks (commas alone, where `prefix` has a blank) between them, each after `prefix`. `signed` says what is signed, a text
    with `{body}`, and `{timestamp}` and `{id}` where these headers are named: `v0:{timestamp}:{body}`. By default the body, after
    the timestamp and a full stop if there is one. A timestamp is in seconds since 1970, or milliseconds.
    """

    header: str
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp_header: str | None = None
    id_header: str | None = None
    signed: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("header", "timestamp_header", "id_header"):
            value = getattr(self, name)
            if value is not None and not _HEADER.fullmatch(value):
                raise ValueError(f"`{name}` is the name of a header, not {value!r}")
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(
                f"`prefix` is at most 40 characters without comma, the first one visible, not {self.prefix!r}"
            )
        names = _PLACEHOLDER.findall(self.template)
        given = {"body": True, "timestamp": self.timestamp_header, "id": self.id_header}
        for name in names:
            if not given.get(name):
                needs = (
                    f"`{name}_header` says where it comes from" if name in given else "there is no such thing"
                )
                raise ValueError(f"`signed` has {{{name}}}, but {needs}")
        if names.count("body") != 1 or len(names) != len(set(names)):
            raise ValueError("`signed` has {body} once, and nothing twice")
        if self.timestamp_header and "timestamp" not in names:
            raise ValueError(
                "`signed` lacks {timestamp}: a time that is not signed protects from nothing; leave out `timestamp_header`"
            )

    @property
    def template(self) -> str:
        """What is signed."""
        return self.signed or ("{timestamp}.{body}" if self.timestamp_header else "{body}")

    def parts(self) -> Sequence[str]:
        """`template` cut at its placeholders: text, name, text, name, … text."""
        return _PLACEHOLDER.split(self.template)


Config = Stripe | StandardWebhooks | Slack | Github | Shopify | Hmac
KINDS: dict[str, type[Config]] = {str(one.__struct_config__.tag): one for one in Config.__args__}


def read_config(written: Mapping[str, Any]) -> Config:
    """As written in YAML, less `secret`: `{"kind": "stripe", "tolerance_s": 60}`. Raises `ConfigError`."""
    kind = written.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"`verify` needs a `kind`, one of {', '.join(sorted(KINDS))}; there is no {kind!r}")
    try:
        return msgspec.convert(dict(written), Config)
    except msgspec.ValidationError as error:
        takes = ", ".join(KINDS[kind].__struct_fields__) or "nothing else"
        raise ConfigError(
            f"`verify` is wrong: {error}. Beside kind and secret, {kind} takes {takes}"
        ) from error


def keys_of(config: Config, secrets: Sequence[str]) -> list[bytes]:
    """The secrets as the sender shows them, as keys to sign with. Raises `ConfigError`, which says no secret."""
    if not secrets:
        raise ConfigError("`verify` has no secret")
    return [_key(config, secret, number) for number, secret in enumerate(secrets, 1)]


def _key(config: Config, secret: str, number: int) -> bytes:
    if not secret or secret != secret.strip():
        raise ConfigError(f"secret {number} of `verify` is empty, or begins or ends with white space")
    if not isinstance(config, StandardWebhooks):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(
            f"secret {number} of `verify` is not what the sender shows: `whsec_` and base64"
        ) from error
    if not key:
        raise ConfigError(f"secret {number} of `verify` is empty after `whsec_`")
    return key
