"""Deliveries that their sender signed: verified before they are landed."""

from collections.abc import Callable
from hashlib import sha256

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receiving import Arrival, take
from ingestion_assets.frontdoor.request_headers import check_media_type, facts_of
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.landing.drops import IdempotencyConflictError, NewDrop, Receipt
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.framing import MEDIA_TYPES
from ingestion_assets.zones.verification.config import Config
from ingestion_assets.zones.verification.handshakes import Handshake, handshake
from ingestion_assets.zones.verification.senders import UnverifiedError, delivery_id
from ingestion_assets.zones.verification.verifying import reused_id, verify
from ingestion_assets.zones.web.unverified import Refusals
from ingestion_assets.zones.web.zone_senders import Sender

SIGNED_AT = "signed_at"
"""The attribute of a payload that says when its sender signed it."""

log = structlog.get_logger(__name__)


class _HandshakeError(Exception):
    def __init__(self, answer: Handshake) -> None:
        super().__init__("a handshake")
        self.answer = answer


async def take_signed(
    request: Request,
    document: ZoneDocument,
    sender: Sender,
    refusals: Refusals,
    make_drop: Callable[[Arrival, bytes], NewDrop],
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
        return make_drop(
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


def _named(request: Request, config: Config) -> str | None:
    """The id that a delivery goes by that is turned away, where it can be one."""
    try:
        return delivery_id(config, request.scope["state"]["headers"], b"")
    except UnverifiedError:
        return None


def _refused(
    request: Request,
    document: ZoneDocument,
    config: Config,
    refusals: Refusals,
    error: UnverifiedError,
    body: bytes,
) -> Problem:
    client = request.scope.get("client")
    delivery = _named(request, config)
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
