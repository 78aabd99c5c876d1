"""The files of `deploy/` have the shape that Compose and Kubernetes ask for."""

from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from ingestion_assets_tests.deploy.processes import DEPLOY, manifests

KUBERNETES = "1.37"
DOCUMENTS = list(manifests())


def test_compose_has_the_shape_of_the_compose_specification() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(document, get_builtin_schema("vendor.compose-spec"))


@pytest.mark.parametrize(
    "document",
    [document for _, document in DOCUMENTS],
    ids=[f"{file}-{one['kind']}" for file, one in DOCUMENTS],
)
def test_manifests_have_the_shape_of_their_kind(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)
