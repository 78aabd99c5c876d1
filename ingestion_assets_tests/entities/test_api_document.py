"""The OpenAPI document of the entities endpoints against a front door whose runs really load.

`INGESTION_LONG_TESTS=1` tries many more requests.
"""

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ingestion_assets.entities.work import EntitiesWork
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.drops import DropOutcome
from ingestion_assets.landing.storage import open_storage
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front, serving, settings_for

DOCUMENTED = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
OURS = ("/ingest/", "/stats", "/api/v1/entities/")
EXAMPLES = 200 if os.environ.get("INGESTION_LONG_TESTS") else 8


@pytest.fixture(scope="module")
def loading(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door whose runs load each payload at once."""
    chosen = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url)
    with serving(chosen) as front:

        def load(ref: DropRef) -> DropOutcome:
            work = EntitiesWork(
                claim=Claim("claim", "run", (), (ref,)), storage=open_storage(chosen), engine=front.engine,
                entities=lambda: TPCH, max_bytes=2**28, is_transient=lambda _: False,
            )  # fmt: skip
            return work.outcomes()[0]

        front.runs.outcome = load
        yield front


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_answers_are_documented(loading: Front, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{loading.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [operation for operation in operations if operation.path.startswith(OURS)]
    assert len(operations) == 10
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.path_parameters):
            continue

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def exercise(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=DOCUMENTED, headers={"X-API-Key": ADMIN_TOKEN}, timeout=30)

        exercise()
