"""Generated requests against the OpenAPI document: none may give a 5xx, or an answer that is not documented; what the document
forbids is refused, and what it allows is taken.
"""

import os
import uuid
from collections import Counter
from collections.abc import Mapping

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy, none
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN

LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"
EXAMPLES = 220 if LONG else 8
"""Requests for each operation, valid and invalid ones counted apart."""
MODES = {"valid": GenerationMode.POSITIVE, "invalid": GenerationMode.NEGATIVE}
_CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method, allow_header_conformance, negative_data_rejection,
]  # fmt: skip
# What a schema cannot say: that a line is well-formed and what it refers to is there, that a version is one, a name there once,
# that git allows a ref, a webhook's address in no private network, that an overlap is below its size, that a job's status takes an action,
# that a connection's configuration fits its type, that lines are JSON or CSV and hold a record.
_JUDGED_BY_MORE = (
    "ingestEntity",
    "syncModules",
    "createSite",
    "submitRepository",
    "createBatchJob",
    "controlBatchJob",
    "createConnection",
    "changeConnection",
    "dropRecords",
)

_JUDGED_LATER = ("dropRecords",)
"""A record that its schema does not allow is rejected by the run, and costs the payload nothing."""


def try_operations(
    url: str,
    *,
    paths: tuple[str, ...],
    mode: str,
    known: Mapping[str, object],
    bodies: SearchStrategy[str | None] | None = None,
    at_least: int = 1000,
) -> Counter[str]:
    """Try every operation whose path begins with one of `paths`; how often each was answered with which status.

    `known` are values of path parameters that exist, for valid requests; `bodies` stand in for generated ones, unless None;
    `at_least` so many requests are made in the long form.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]
    answers: Counter[str] = Counter()
    for operation in operations:
        invalid = mode == "invalid"
        if not operation.path.startswith(paths):
            continue
        if invalid and not (operation.body or operation.query or operation.path_parameters):
            continue
        _try(
            operation.as_strategy(generation_mode=MODES[mode]), answers, {} if invalid else known,
            bodies if bodies is not None and not invalid else none(),
        )  # fmt: skip
    print(f"{answers.total()} {mode} requests:", dict(answers))
    if LONG:
        assert answers.total() >= at_least
    return answers


def _try(
    cases: SearchStrategy[schemathesis.Case],
    answers: Counter[str],
    known: Mapping[str, object],
    bodies: SearchStrategy[str | None],
) -> None:
    @given(case=cases, body=bodies)
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=not LONG, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    def check(case: schemathesis.Case, body: str | None) -> None:
        case.headers["X-API-Key"] = ADMIN_TOKEN
        if case.method == "POST":
            case.headers.setdefault("Prefer", "wait=1")
            if body is not None:
                case.body = body
        if "Idempotency-Key" in case.headers and known:  # another body under a key that was used is refused
            case.headers["Idempotency-Key"] = uuid.uuid4().hex
        parameters = case.path_parameters or {}
        case.path_parameters = {name: known.get(name, value) for name, value in parameters.items()}
        answer = case.call(timeout=30)
        answers[f"{case.method} {case.operation.path} {answer.status_code}"] += 1
        if (
            answer.status_code == 414
        ):  # a head that is too large is refused before anybody looks at its address
            return
        operation = case.operation.definition.raw["operationId"]
        checks = [*_CHECKS] if operation.startswith(_JUDGED_BY_MORE) else [*_CHECKS, positive_data_acceptance]
        if operation.startswith(_JUDGED_LATER):
            checks.remove(negative_data_rejection)
        case.validate_response(answer, checks=checks)

    check()
