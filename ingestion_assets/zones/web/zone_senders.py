"""Who sends to a zone: how they sign, and with what."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.stores.sealing import SealError
from ingestion_assets.zones import in_force
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.verification.config import Config, ConfigError, keys_of, read_config

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sender:
    """How a zone's sender signs, and with what."""

    config: Config
    keys: list[bytes]


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
