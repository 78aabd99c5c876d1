"""Parameters of the flow's endpoints: which site, which sync, how much of a list."""

from typing import Annotated

from fastapi import Path, Query

from ingestion_assets.frontdoor.openapi import secured

SiteId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The site.", examples=[1])]
SyncId = Annotated[
    str,
    Path(
        pattern=r"^(sync_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        description="The sync.",
        examples=["sync_0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Most items in one page.")]
SECURED = secured()
