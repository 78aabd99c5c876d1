"""The page `/documents`: jobs, their files and failures, and search; it reads and changes nothing.

It asks for an API key, which stays in its memory and goes with a reload.
"""

from fastapi import APIRouter
from starlette.responses import Response

from ingestion_assets.frontdoor.self_contained_page import page_response

router = APIRouter(include_in_schema=False)


@router.get("/documents")
async def documents_page() -> Response:
    return page_response("ingestion_assets.documents.web", "documents_page.html")
