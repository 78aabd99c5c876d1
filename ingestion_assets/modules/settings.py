"""The settings of modules, under the names that they have had from the beginning."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from ingestion_assets.settings import FlowSettings


def _hosts_and_networks(listed: str) -> str:
    for one in listed.split(","):
        if "/" in one:
            ipaddress.ip_network(one.strip(), strict=False)
    return listed


class ModulesSettings(FlowSettings, env_prefix="INGESTION_"):
    """Read them with `load_flow_settings`."""

    sync_rate_limit: str = Field(
        "60/hour",
        description="Syncs of modules per site, in the notation of the `limits` library; empty switches it off.",
    )
    sync_queue_threshold: int = Field(
        1000, ge=0, description="Modules in one sync above which it is answered with its receipt at once."
    )
    removal_guard_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a site's modules above which a full sync that removes them is held.",
    )
    removal_guard_at_least: int = Field(
        10, ge=1, description="Modules that a full sync has to remove at the least to be held."
    )
    release_history_url: str = Field(
        "https://updates.drupal.org/release-history",
        description="Base address of the release-history feed; `/<project>/current` is added.",
    )
    release_history_per_second: float = Field(
        4.0, gt=0, description="Projects asked of the release-history feed in one second, at most."
    )
    webhooks_allowed: Annotated[str, AfterValidator(_hosts_and_networks)] = Field(
        "",
        description="Hosts and networks that webhooks may be called in beside public ones, separated by commas: `hooks.internal,10.1.0.0/16`.",
    )
    webhooks_allow_private: bool = Field(
        False, description="Also call webhooks whose address lies in whatever private network."
    )
