"""Deliveries that their sender signed: verified before they are landed. Those that are not are counted by the hour, for the audit."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from starlette.requests import Request
from starlette.responses import Response

from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receiving import Arrival, take
from ingestion_assets.frontdoor.request_headers import check_media_type, facts_of
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.landing.drops import IdempotencyConflictError, NewDrop, Receipt
from ingestion_assets.stores.sealing import SealError
from ingestion_assets.zones import in_force
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.framing import MEDIA_TYPES
from ingestion_assets.zones.verification.config import Config, ConfigError, keys_of, read_config
from ingestion_assets.zones.verification.handshakes import Handshake, handshake
from ingestion_assets.zones.verification.senders import UnverifiedError, delivery_id
from ingestion_assets.zones.verification.verifying import reused_id, verify
from ingestion_assets.zones.web.drops_made import drop_maker

SIGNED_AT = "signed_at"
"""The attribute of a payload that says when its sender signed it."""

_NOTE = sa.text("""
    INSERT INTO ingestion.zone_refusals (zone, hour, code, deliveries, last_at, remote_address, delivery_id, body_sha256)
    VALUES (:zone, date_trunc('hour', clock_timestamp()), :code, :deliveries, clock_timestamp(), :remote_address, :delivery_id, :body_sha256)
    ON CONFLICT (zone, hour, code) DO UPDATE SET deliveries = zone_refusals.deliveries + excluded.deliveries,
        last_at = excluded.last_at, remote_address = excluded.remote_address, delivery_id = excluded.delivery_id,
        body_sha256 = excluded.body_sha256
""")
_FORGET = sa.text("DELETE FROM ingestion.zone_refusals WHERE hour < clock_timestamp() - interval '90 days'")

log = structlog.get_logger(__name__)


class _HandshakeError(Exception):
    def __init__(self, answer: Handshake) -> None:
        super().__init__("a handshake")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Sender:
    """How a zone's sender signs, and with what."""

    config: Config
    keys: list[bytes]


class Refusals:
    """Deliveries that were turned away and are not written down yet, by zone and code: how many, and facts of the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, zone: str, code: str, **facts: str | None) -> None:
        with self._lock:
            known = self._found.get((zone, code), {"deliveries": 0})
            self._found[zone, code] = {"deliveries": known["deliveries"] + 1, **facts}

    def write(self, engine: sa.Engine) -> None:
        """In a transaction of its own. What could not be written is kept for the next time; raises what SQLAlchemy raises."""
        with self._lock:
            found, self._found = self._found, {}
        if not found:
            return
        try:
            with engine.begin() as connection:
                for (zone, code), facts in found.items():
                    connection.execute(_NOTE, {"zone": zone, "code": code, **facts})
                connection.execute(_FORGET)
        except Exception:
            with self._lock:
                for place, facts in found.items():
                    more = self._found.get(place, {"deliveries": 0})["deliveries"]
                    self._found[place] = {**facts, "deliveries": facts["deliveries"] + more}
            raise


def sender_of(door: FrontDoor, document: ZoneDocument) -> Sender | None:
    """None for a zone whose sender does not sign. Raises `Problem` 503 where this front door cannot verify it: it has other keys, or is
    of an older release."""
    if document.verify is None:
        return None
    try:
        config = read_config(document.verify)
        secrets = [secret.decode() for secret in in_force.opened_secrets(document, door.settings)]
        return Sender(config, keys_of(config, secrets))
    except (SealError, ConfigError) as error:
        log.error("zone_not_verified", zone=document.name, reason=str(error))
        raise Problem(
            503,
            f"This front door cannot verify who sends to the zone {document.name}; its log says why.",
            headers={"Retry-After": "60"},
        ) from error


def shows_key(headers: Mapping[bytes, bytes], sender: Sender) -> bool:
    """Whether a request comes with an API key, which is as good as a signature: for trying a zone, and for `ingestion zones send`."""
    signs = getattr(sender.config, "header", "").lower().encode()
    return b"x-api-key" in headers or (
        signs != b"authorization" and headers.get(b"authorization", b"")[:7].lower() == b"bearer "
    )


async def take_signed(
    request: Request, document: ZoneDocument, sender: Sender, refusals: Refusals
) -> Response:
    """Verify a delivery, land it and answer: at once, unless it asks to wait, for senders wait for seconds only.

    Raises `Problem`, 401 for what is not its sender's: signed by somebody else, for another body, long ago, or sent again as it was.
    """
    door = front_door(request)
    headers = request.scope["state"]["headers"]
    check_media_type(headers, MEDIA_TYPES)
    principal = Principal(
        f"{document.name}:{sender.config.__struct_config__.tag}", frozenset({document.name})
    )
    door.backlog.admit(document.name)
    arrival = Arrival(principal, headers, "", facts_of(headers, client=request.scope.get("client")))
    make = drop_maker(request, document)
    signed_at: list[str] = []

    def verified(arrival: Arrival, body: bytes) -> NewDrop:
        try:
            found = verify(sender.config, sender.keys, headers, body, door.clock.now())
        except UnverifiedError as error:
            raise _refused(request, document, sender.config, refusals, error, body) from error
        if (answer := handshake(sender.config, headers, body)) is not None:
            raise _HandshakeError(answer)
        facts = dict(arrival.attributes)
        if found.timestamp is not None:
            signed_at.append(found.timestamp.isoformat())
            facts[SIGNED_AT] = signed_at[0]
        return make(
            msgspec.structs.replace(arrival, idempotency_key=found.idempotency_key, attributes=facts), body
        )

    def replayed(first: Receipt) -> None:
        if signed_at and first.attributes.get(SIGNED_AT) == signed_at[0]:
            error = UnverifiedError(
                "replayed", "This very delivery came before; a sender that tries again signs it anew."
            )
            raise _refused(request, document, sender.config, refusals, error, b"")

    try:
        await door.admit(request, principal)
        return await take(request, arrival, make_drop=verified, default_wait_s=0.0, on_replay=replayed)
    except _HandshakeError as reached:
        return Response(reached.answer.body, media_type=reached.answer.media_type)
    except Problem as problem:
        if isinstance(problem.__cause__, IdempotencyConflictError):
            raise _refused(request, document, sender.config, refusals, reused_id(), b"") from problem
        raise


def _refused(
    request: Request,
    document: ZoneDocument,
    config: Config,
    refusals: Refusals,
    error: UnverifiedError,
    body: bytes,
) -> Problem:
    client = request.scope.get("client")
    delivery = delivery_id(config, request.scope["state"]["headers"], b"")
    address = client[0] if client else None
    refusals.add(
        document.name,
        error.code,
        remote_address=address,
        delivery_id=delivery,
        body_sha256=sha256(body).hexdigest() if body else None,
    )
    log.warning(
        "delivery_not_verified",
        zone=document.name,
        code=error.code,
        remote_address=address,
        delivery=delivery,
    )
    return Problem(
        401,
        error.sentence,
        headers={"WWW-Authenticate": "Signature"},
        errors=[error_item("header", msg=error.sentence, type=error.code)],
    )
