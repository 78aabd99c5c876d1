"""A migrated database, and settings that name it and servers of models."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from ingestion_assets.settings import Settings
from ingestion_assets.stores import postgres
from ingestion_assets_tests.embedding.stub_endpoint import StubEndpoint, stub_endpoint


@pytest.fixture
def engine(fresh_postgres_url: str) -> Iterator[sa.Engine]:
    made = postgres.engine(fresh_postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def endpoint() -> Iterator[StubEndpoint]:
    with stub_endpoint() as running:
        yield running


@pytest.fixture
def settings_with(fresh_postgres_url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings with these endpoints and more."""

    def made(*endpoints: StubEndpoint, model_folders: str = "", **more: Any) -> Settings:
        said = [
            {"url": one.url, "key": one.key, "models": ["stub-model"], "batch_texts": 4, **more}
            for one in endpoints
        ]
        return Settings(
            home=tmp_path, postgres_url=fresh_postgres_url, model_folders=model_folders,
            embedding_endpoints=SecretStr(json.dumps(said)),
        )  # fmt: skip

    return made
