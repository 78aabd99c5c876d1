"""Parameters that the flow's endpoints share."""

from typing import Annotated

from fastapi import Path, Query
from starlette.convertors import StringConvertor, register_url_convertor

from ingestion_assets.frontdoor.openapi import secured


class _Address(StringConvertor):
    """All of a path. Starlette's own `path` ends at a line break: such an address would be 404 instead of refused."""

    regex = r"[\s\S]*"


register_url_convertor("address", _Address())

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
    Query(
        max_length=250,
        description="A branch, a tag, or a commit by its full id; default: the repository's default branch.",
        examples=["main"],
    ),
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
