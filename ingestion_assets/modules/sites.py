"""Sites: made, listed, switched off, and their own API keys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ingestion_assets.frontdoor.keys import create_key, revoke_key
from ingestion_assets.installed_flows import known_scopes
from ingestion_assets.modules.module_tables import sites
from ingestion_assets.modules.site_keys import KEY, slug_of
from ingestion_assets.modules.webhooks import new_secret
from ingestion_assets.stores.sealing import Sealer


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A Drupal site as it is known; `partition` is what its partition is called in Dagster. The last five fields come from its newest applied sync."""

    id: int
    name: str
    partition: str
    url: str | None
    active: bool
    webhook_url: str | None
    created_at: datetime
    snapshot_at: datetime | None
    drupal_version: str | None
    php_version: str | None
    site_info: dict[str, object] | None


_SHOWN = [KEY.label(name) if name == "partition" else sites.c[name] for name in Site.__dataclass_fields__]


def key_name(site_id: int) -> str:
    """Name of the site's own API key, which is the principal of its syncs."""
    return f"site-{site_id}"


def scope(site_id: int) -> str:
    return f"modules:{site_id}"


@dataclass(frozen=True, slots=True)
class NewSite:
    """A site just made, with what is shown this once: its API key, and the secret its webhook is signed with."""

    site: Site
    api_key: str
    webhook_secret: str | None


def create_site(
    connection: sa.Connection,
    *,
    sealer: Callable[[], Sealer],
    name: str,
    url: str | None = None,
    webhook_url: str | None = None,
) -> NewSite:
    """Make a site and its API key. Its webhook's secret is kept sealed; without a webhook no sealer is asked for."""
    secret = new_secret() if webhook_url else None
    sealed = sealer().seal(secret) if secret else None
    row = connection.execute(
        sa.insert(sites)
        .values(name=name, slug=slug_of(name), url=url, webhook_url=webhook_url, webhook_secret=sealed)
        .returning(*_SHOWN)
    ).one()
    return NewSite(Site(**row._mapping), _new_key(connection, row.id), secret)


def rotate_key(connection: sa.Connection, site_id: int) -> str | None:
    """A new API key for the site; the old one is turned away within seconds. None if there is no such site."""
    if get_site(connection, site_id) is None:
        return None
    revoke_key(connection, name_or_id=key_name(site_id))
    return _new_key(connection, site_id)


def _new_key(connection: sa.Connection, site_id: int) -> str:
    return create_key(connection, name=key_name(site_id), scopes=[scope(site_id)], known=known_scopes())[1]


def get_site(connection: sa.Connection, site_id: int) -> Site | None:
    row = connection.execute(sa.select(*_SHOWN).where(sites.c.id == site_id)).one_or_none()
    return None if row is None else Site(**row._mapping)


def list_sites(connection: sa.Connection, *, after: int = 0, limit: int = 50) -> Sequence[Site]:
    """Sites, the oldest first."""
    rows = connection.execute(sa.select(*_SHOWN).where(sites.c.id > after).order_by(sites.c.id).limit(limit))
    return [Site(**row._mapping) for row in rows]


def set_active(connection: sa.Connection, site_id: int, *, active: bool) -> Site | None:
    """Switch a site on or off; one that is off takes no syncs."""
    row = connection.execute(
        sa.update(sites).where(sites.c.id == site_id).values(active=active).returning(*_SHOWN)
    ).one_or_none()
    return None if row is None else Site(**row._mapping)
