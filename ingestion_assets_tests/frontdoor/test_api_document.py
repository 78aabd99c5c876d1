"""The OpenAPI document against the server: generated requests give no 5xx and no answer that is not documented.

`INGESTION_LONG_TESTS=1` runs at least 2,000 cases.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front, serving, settings_for
from ingestion_assets_tests.frontdoor.instant_runs import first_rejected, stored

DOCUMENTED = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
]  # fmt: skip
# The instant runs give results of the conversations flow; the other flows exercise their own endpoints.
OURS = ("/api/v1/ingest/", "/api/v1/receipts", "/api/v1/rejects", "/api/v1/drift", "/health", "/metrics")
LONG = bool(os.environ.get("INGESTION_LONG_TESTS"))
EXAMPLES = 220 if LONG else 8


@pytest.fixture(scope="module")
def whole(postgres_url: str, mongodb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("home")
    with serving(settings_for(home=home, postgres_url=postgres_url, mongodb_url=mongodb_url)) as running:
        yield running


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_answers_are_documented(whole: Front, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{whole.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [operation for operation in operations if operation.path.startswith(OURS)]
    assert len(operations) > 10
    ids = _one_of_each(whole)
    statuses: Counter[tuple[str, int]] = Counter()
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (
            operation.body or operation.query or operation.path_parameters
        ):
            continue
        _exercise(
            operation.as_strategy(generation_mode=mode),
            statuses,
            ids if mode is GenerationMode.POSITIVE else {},
        )
    assert any(status < 300 for _, status in statuses) or mode is GenerationMode.NEGATIVE
    print(f"{statuses.total()} cases:", dict(statuses))
    if LONG:
        assert statuses.total() >= 1000


def _one_of_each(front: Front) -> dict[str, str]:
    """Ids of a receipt and a reject that exist."""
    front.runs.outcome = first_rejected
    with front.client() as client:
        receipt = client.post("/api/v1/ingest/batch", json={"messages": [1, 2]}).headers["x-receipt-id"]
        front.runs.outcome = stored
        reject = client.get("/api/v1/rejects", params={"receipt": receipt}).json()["items"][0]["id"]
    return {"receipt_id": receipt, "reject_id": reject}


def _exercise(
    cases: SearchStrategy[schemathesis.Case], statuses: Counter[tuple[str, int]], ids: dict[str, str]
) -> None:
    @given(case=cases)
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=not LONG, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    def check(case: schemathesis.Case) -> None:
        case.headers["X-API-Key"] = ADMIN_TOKEN
        if case.method == "POST":
            case.headers.setdefault("Prefer", "wait=1")
        case.path_parameters = {**(case.path_parameters or {}), **ids_of(case)}
        answer = case.call(timeout=30)
        statuses[f"{case.method} {case.operation.path}", answer.status_code] += 1
        case.validate_response(answer, checks=DOCUMENTED)

    def ids_of(case: schemathesis.Case) -> dict[str, str]:
        return {name: ids[name] for name in case.path_parameters or {} if name in ids}

    check()
