"""The modules flow's face towards the spine: one partition and one lane a site, inbox files, redriving."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.flows import Body, Command, Flow, Keys, RefusedError, Scope
from ingestion_assets.landing.tallies import tally_by

NAME = "modules"
SITES = "sites"
NO_SITE = 0  # under it lands what says of no site that it is its
UNJUDGED = frozenset(
    {"queue", "inbox"}
)  # ways in (`via`) on which no front door judges a payload before it lands
REFUSED = "refused"  # the attribute of a payload that can only become a reject: why
_OUTCOMES = {
    "new_modules": "stored", "returned_modules": "stored", "modified_modules": "stored", "unchanged_modules": "duplicate",
    "superseded_modules": "superseded",
}  # fmt: skip


def partition_of(_received_at: datetime, subject: str | None = None) -> str:
    """The site's id."""
    if subject is None:
        raise ValueError("a sync needs its site")
    return subject


def site_drop(
    site_id: int,
    body: bytes,
    *,
    records: int,
    principal: str,
    attributes: Mapping[str, str],
    idempotency_key: str | None = None,
) -> NewDrop:
    """A sync of a site on its way to landing storage."""
    site = str(site_id)
    return NewDrop(
        flow=NAME, partition=site, lane=site, subject=site, principal=principal, body=body, records=records,
        idempotency_key=idempotency_key, attributes=dict(attributes),
    )  # fmt: skip


def read_inbox(name: str, content: bytes) -> Sequence[tuple[Body, Mapping[str, str]]]:
    """A request body in a folder named after its site's id: `modules/inbox/12/today.json`."""
    from ingestion_assets.modules.schema import RequestError, decode_request  # noqa: PLC0415

    site, slash, _ = name.partition("/")
    # A second spelling of a number (012) would be a second lane of the site, and no number of a site is larger.
    if not slash or not re.fullmatch(r"[1-9][0-9]{0,18}", site) or int(site) >= 2**63:
        raise RefusedError(f"{name} does not lie in a folder named after a site's id, such as 12/today.json")
    try:
        request = decode_request(content)
    except RequestError as error:
        raise RefusedError(str(error)) from error
    return [(Body(content, len(request.modules), subject=site), {"via": "inbox"})]


def compose(records: Sequence[bytes], _attributes: Mapping[str, str]) -> Body:
    """A sync is refused or applied as a whole, so there is one record: the body."""
    body = b"".join(records)
    return Body(body, len(json.loads(body).get("modules", [])))


MODULES = Flow(
    name=NAME,
    scope=Scope(name=NAME, of="site"),
    partitions=Keys(
        name=SITES,
        needs_all=True,
        named="ingestion_assets.modules.site_keys:keys_of",
        partition_of=lambda key: key.partition("-")[0],
    ),
    partition_of=partition_of,
    read_inbox=read_inbox,
    compose=compose,
    tally=tally_by(_OUTCOMES),
    settings="ingestion_assets.modules.settings:ModulesSettings",
    sealed=("ingestion.sites.webhook_secret",),
    definitions="ingestion_assets.modules.definitions:definitions",
    http="ingestion_assets.modules.api:HTTP",
    work=("ingestion_assets.modules.feed", "ingestion_assets.modules.work"),
    senders=(
        Command(
            name="drupal",
            module="ingestion_assets.modules.send_drupal",
            help="Send what is installed on a Drupal site.",
        ),
    ),
    commands=(
        Command(
            name="sites", module="ingestion_assets.modules.cli", help="Create, list and show Drupal sites."
        ),
    ),
)
