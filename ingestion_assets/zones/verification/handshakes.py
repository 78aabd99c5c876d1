"""Requests by which a sender only tries the address: they bring no records, and are answered without landing anything."""

from dataclasses import dataclass

import msgspec

from ingestion_assets.zones.verification.config import Config, Github, Slack
from ingestion_assets.zones.verification.senders import Headers


@dataclass(frozen=True, slots=True)
class Handshake:
    """The answer, with status 200."""

    body: bytes
    media_type: str = "application/json"


class _Challenge(msgspec.Struct, tag_field="type", tag="url_verification"):
    challenge: str


class _Ping(msgspec.Struct):
    zen: str
    hook_id: int


def handshake(config: Config, headers: Headers, body: bytes) -> Handshake | None:
    """What to answer to this body, if it is a handshake. Ask once the signature is known to be right: both senders sign theirs.

    Slack's `url_verification` wants its challenge back, GitHub's `ping` any 2xx.
    """
    try:
        match config:
            case Slack():
                challenge = msgspec.json.decode(body, type=_Challenge).challenge
                return Handshake(msgspec.json.encode({"challenge": challenge}))
            case Github() if headers.get(b"x-github-event") == b"ping":
                msgspec.json.decode(body, type=_Ping)  # the header is not signed, the body is
                return Handshake(b'{"status":"pong"}')
    except (ValueError, RecursionError):
        pass
    return None
