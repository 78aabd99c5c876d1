"""Whose jobs, connections and documents a request is about, and whether its key is for that user."""

from typing import Annotated

from fastapi import Query

from ingestion_assets.documents.job_requests import USER_ID
from ingestion_assets.frontdoor.openapi import secured
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.tokens import Principal

UserId = Annotated[str, Query(pattern=USER_ID, description="Whose it is.", examples=["user123"])]
SECURED = secured()
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def may(principal: Principal, user_id: str) -> None:
    """Raises `Problem` 403 unless the key is for this user."""
    scope = f"documents:{user_id}"
    if not principal.may(scope):
        raise Problem(403, f"This API key lacks the scope {scope}.")
