"""Parameters that the flow's endpoints share."""

from typing import Annotated

from fastapi import Path, Query

from ingestion_assets.frontdoor.openapi import secured

RepositoryUrl = Annotated[
    str,
    Path(
        max_length=2000,
        description="Its address: `host/owner/name`, with or without scheme and `.git`.",
        examples=["github.com/user/awesome-project"],
    ),
]
RefName = Annotated[
    str | None,
    Query(max_length=250, description="A branch or tag; default: the repository's default branch."),
]
RepositoryKey = Annotated[
    str,
    Path(
        max_length=2000, pattern=r"^[^\x00]+$",
        description="The repository as lists name it: `host/owner/name`, `host/owner/name@ref`.",
        examples=["github.com/user/awesome-project"],
    ),
]  # fmt: skip
SECURED = secured()
Limit = Annotated[int, Query(ge=1, le=100, description="Most items.")]
