"""The entities flow over HTTP: its endpoints, at the addresses of the specification and below `/api/v1/entities`."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from ingestion_assets.entities import message_endpoints, statistics, stream_endpoints


def _operation_id(route: APIRoute) -> str:
    """As the endpoint is named; below `/api/v1` that is said, too, since both addresses stand in the API document."""
    first, *others = route.name.split("_")
    versioned = "V1" if route.path.startswith("/api/v1") else ""
    return f"{first}{''.join(word.title() for word in others)}{versioned}"


router = APIRouter(generate_unique_id_function=_operation_id)
for part in (message_endpoints, stream_endpoints, statistics):
    router.include_router(part.router)

prefixed = APIRouter(generate_unique_id_function=_operation_id)
prefixed.include_router(router, prefix="/api/v1/entities")
