"""The entities flow over HTTP: its endpoints, at the addresses of the specification and below `/api/v1/entities`."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from ingestion_assets.entities import message_endpoints, statistics_endpoint, stream_endpoints
from ingestion_assets.entities.active_definitions import defined_entities
from ingestion_assets.entities.definition_watch import follow_definitions
from ingestion_assets.entities.flow import NAME
from ingestion_assets.entities.line_schemas import line_schemas
from ingestion_assets.frontdoor.flow_http import FlowHttp


def _operation_id(route: APIRoute) -> str:
    """As the endpoint is named; below `/api/v1` that is said, too, since both addresses stand in the API document."""
    first, *others = route.name.split("_")
    versioned = "V1" if route.path.startswith("/api/v1") else ""
    return f"{first}{''.join(word.title() for word in others)}{versioned}"


router = APIRouter(generate_unique_id_function=_operation_id)
for part in (message_endpoints, stream_endpoints, statistics_endpoint):
    router.include_router(part.router)

prefixed = APIRouter(generate_unique_id_function=_operation_id)
prefixed.include_router(router, prefix="/api/v1/entities")


def http() -> FlowHttp:
    """All of it. Faulty definitions, without any that were good before, are an error of the start."""
    defined_entities()
    return FlowHttp(
        routers=[router, prefixed],
        background=[follow_definitions],
        schemas=lambda: line_schemas(defined_entities()),
        health=lambda: {NAME: [entity.entity for entity in defined_entities().entities]},
        curl="/ingest/message -H 'Content-Type: text/plain' "
        "--data-binary 'C|1|name|lane|3|11-719|-7.10|BUILDING|comment'",
    )
