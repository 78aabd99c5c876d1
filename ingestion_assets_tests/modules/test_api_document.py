"""The flow's part of the OpenAPI document against the server: generated requests give no answer that is not documented."""

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
    unsupported_method,
)

from ingestion_assets_tests.modules.front import ADMIN, Front, serving
from ingestion_assets_tests.modules.replay import body, module

DOCUMENTED = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
]  # fmt: skip
OURS = ("/api/v1/sites", "/api/v1/security")
EXAMPLES = 150 if os.environ.get("INGESTION_LONG_TESTS") else 8


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("home")
    with serving(home=home, postgres_url=postgres_url, sync_rate_limit="") as running:
        yield running


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_answers_are_documented(front: Front, mode: GenerationMode) -> None:
    site_id, _ = front.site()
    with front.client() as client:
        sync_id = client.post(f"/sites/{site_id}/modules/sync", json=body([module("a")])).json()["sync_id"]
    known = {"site_id": site_id, "sync_id": sync_id, "machine_name": "a"}
    schema = schemathesis.openapi.from_url(f"{front.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [one for one in operations if one.path.startswith(OURS)]
    assert len(operations) >= 13
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (
            operation.body or operation.query or operation.path_parameters
        ):
            continue
        _exercise(operation, mode, known if mode is GenerationMode.POSITIVE else {})


def _exercise(operation: schemathesis.APIOperation, mode: GenerationMode, known: dict[str, object]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    def check(case: schemathesis.Case) -> None:
        case.headers["X-API-Key"] = ADMIN
        if case.method == "POST":
            case.headers.setdefault("Prefer", "wait=1")
        chosen = {name: known[name] for name in case.path_parameters or {} if name in known}
        case.path_parameters = {**(case.path_parameters or {}), **chosen}
        case.validate_response(case.call(timeout=30), checks=DOCUMENTED)

    check()


def test_every_endpoint_is_described(front: Front) -> None:
    with front.client(None) as client:
        document = client.get(f"{front.url}/openapi.json").json()
    ours = {path: methods for path, methods in document["paths"].items() if path.startswith(OURS)}
    for methods in ours.values():
        for operation in methods.values():
            assert operation["summary"] and operation["description"] and operation["security"]
            assert {"401", "403", "503"} <= operation["responses"].keys()
