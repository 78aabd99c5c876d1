"""The flow's part of the OpenAPI document against the server: generated requests give no answer that is not documented.

`INGESTION_LONG_TESTS=1` runs at least 2,000 cases.
"""

from typing import Any

import pytest

from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.frontdoor.generated import MODES, try_operations
from ingestion_assets_tests.repositories import made_up
from ingestion_assets_tests.repositories.made_up import vector

OURS = ("/api/v1/ingestion", "/api/v1/repositories")
ONE = "github.com/example/one"


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_documented(front: Front, mode: str) -> None:
    made_up.index(front.engine, ONE, {"a.py": "a", "b.py": "b"}, {"a.py": vector(1), "b.py": vector(2)})
    known = {"repo_url": "github.com/example/two", "repo": ONE, "path": "a.py"}
    answers = try_operations(front.url, paths=OURS, mode=mode, known=known)
    assert len({answer.rpartition(" ")[0] for answer in answers}) >= 10 or mode == "invalid", answers


def test_every_endpoint_is_described(front: Front) -> None:
    with front.client(None) as client:
        document = client.get("/openapi.json").json()
    ours = {path: methods for path, methods in document["paths"].items() if path.startswith(OURS)}
    assert len(ours) == 9
    for methods in ours.values():
        for operation in methods.values():
            assert operation["summary"] and operation["description"]
            assert {"422", "500", "503"} <= operation["responses"].keys()
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    assert "example" in content or _has_example(document, content["schema"]), (
                        operation["operationId"],
                        status,
                    )
            for parameter in operation.get("parameters", []):
                schema = parameter["schema"]
                said = {"example", "examples", "default", "enum"} & {*schema, *parameter}
                assert said or "anyOf" in schema, (operation["operationId"], parameter["name"])


def _has_example(document: dict[str, Any], schema: dict[str, Any]) -> bool:
    model = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return bool({"example", "examples"} & model.keys())
