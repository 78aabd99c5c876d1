"""The entities flow over HTTP: its endpoints, at the addresses of the specification and below `/api/v1/entities`."""

from fastapi import APIRouter

from ingestion_assets.entities import message_endpoints, statistics, stream_endpoints

router = APIRouter()
for part in (message_endpoints, stream_endpoints, statistics):
    router.include_router(part.router)

prefixed = APIRouter()
prefixed.include_router(router, prefix="/api/v1/entities")
