"""The flow's answers as clients read them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field


class SiteView(BaseModel):
    """A Drupal site. What it says of itself comes from its newest applied sync."""

    id: int
    name: str
    partition: str = Field(
        description="What its partition is called in Dagster: its number and, of sites made since, its first name.",
        examples=["17-town-hall"],
    )
    url: str | None
    active: bool = Field(description="One that is not takes no syncs.")
    webhook_url: str | None
    created_at: datetime
    snapshot_at: datetime | None = Field(description="When the newest applied snapshot was taken.")
    drupal_version: str | None
    php_version: str | None
    site_info: dict[str, Any] | None


class NewSiteView(SiteView):
    """A site just made; the key and the secret are shown this once."""

    api_key: str
    webhook_secret: str | None


class SitePage(BaseModel):
    """Sites, the oldest first."""

    items: list[SiteView]
    next: str | None


class SecurityView(BaseModel):
    """What drupal.org's releases say of an installed version; see the documentation for each status."""

    status: Literal["up_to_date", "update_available", "unsupported", "revoked", "not_secure", "unknown"]
    needs_security_update: bool | None = Field(description="Null where it is not known.")
    recommended: str | None
    security_updates: list[str]
    reason: str | None
    feed_answered_at: datetime | None = Field(
        description="When the feed last gave a good answer for the project."
    )
    stale: bool = Field(
        description="The word is old: the feed's last answer was no good one, or it has given none for a day."
    )
    feed_error: str | None = Field(description="What was wrong with the feed's last answer; null if nothing.")


class ModuleView(BaseModel):
    """A module of a site: every reported field, and what is known of it."""

    machine_name: str
    name: str
    type: str
    version: str
    status: bool
    schema_version: int | None
    package: str | None
    core_compatibility: list[str]
    dependencies: list[str]
    description: str | None
    project_link: str | None
    security_coverage: bool
    project: str | None
    datestamp: int | None
    first_seen: datetime
    last_seen: datetime
    removed_at: datetime | None
    security: SecurityView | None = Field(description="Null for a removed module.")


class ModulePage(BaseModel):
    """Modules by machine name."""

    items: list[ModuleView]
    next: str | None


class ChangeView(BaseModel):
    """One change of a module; null in `to_…` means removed, in `from_…` not there before."""

    from_version: str | None
    to_version: str | None
    from_status: bool | None
    to_status: bool | None
    changed_at: datetime
    sync_id: str


class ChangePage(BaseModel):
    """Changes, the oldest first."""

    items: list[ChangeView]
    next: str | None


class SiteSecurityView(BaseModel):
    """How a site stands."""

    site_id: int
    security_updates_found: int = Field(
        description="Modules that need a security update; core counts as one."
    )
    counts: dict[str, int] = Field(
        description="Modules by status. Core, once judged, counts as one unless a module of core has the same status."
    )
    core: SecurityView = Field(description="Of Drupal core in the version that the site says it runs.")
    oldest_feed_answer: datetime | None
    stale: int = Field(description="Modules whose word is old, core among them.")
    items: list[ModuleView] = Field(
        description="Modules that need a security update, are revoked, or are unknown, and those whose word is old."
    )


class SyncView(BaseModel):
    """A sync that was decided on."""

    sync_id: str
    state: Literal["applied", "superseded", "held"]
    superseded_by: str | None = Field(description="The newer sync, where there is one.")
    sync_type: str
    snapshot_at: datetime
    received_at: datetime
    applied_at: datetime
    principal: str
    remote_address: str | None
    user_agent: str | None
    via: str
    modules: int
    counts: dict[str, int]
    result: dict[str, Any] | None
    receipt_url: str


class SyncPage(BaseModel):
    """Syncs, the newest first."""

    items: list[SyncView]
    next: str | None


class AttemptView(BaseModel):
    """One attempt to sync, refused ones included."""

    id: UUID
    at: datetime
    via: str
    status: int
    outcome: str
    principal: str | None
    remote_address: str | None
    user_agent: str | None
    size_bytes: int | None
    detail: str | None
    receipt: UUID | None


class AttemptPage(BaseModel):
    """Attempts, the newest first."""

    items: list[AttemptView]
    next: str | None


class TouchedSite(BaseModel):
    """A site that a release concerns."""

    site_id: int
    site_name: str
    machine_name: str = Field(description="The module; `drupal` for core as the site names it.")
    installed_version: str
    enabled: bool
    status: str
    security_updates: list[str]


class TouchedPage(BaseModel):
    """Sites by id."""

    items: list[TouchedSite]
    next: str | None
