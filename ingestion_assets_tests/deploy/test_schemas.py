"""The files of `deploy/` have the shape that Compose and Kubernetes ask for."""

from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from typer.testing import CliRunner

from ingestion_assets.cli import app
from ingestion_assets_tests.deploy.processes import DEPLOY, MANIFESTS, manifests, of_kind

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


def test_the_component_gives_every_pod_the_volume_as_its_home() -> None:
    component = yaml.safe_load((MANIFESTS / "volume" / "kustomization.yaml").read_text(encoding="utf-8"))
    assert component["kind"] == "Component"
    (named,) = [
        document["metadata"]["name"]
        for _, document in DOCUMENTS
        if document["kind"] == "PersistentVolumeClaim"
    ]
    assert component["resources"] == ["home.yaml"]
    ((patch),) = component["patches"]
    (operation,) = yaml.safe_load(patch["patch"])
    assert operation["value"] == {"name": "home", "persistentVolumeClaim": {"claimName": named}}
    for kind in patch["target"]["kind"].split("|"):
        for workload in of_kind(kind):
            place: Any = workload
            for step in operation["path"].split("/")[1:]:
                place = place[int(step) if step.isdigit() else step]
            assert place == {"name": "home", "emptyDir": {}}


def test_the_workflow_of_checks_is_one_and_calls_the_command_as_it_is() -> None:
    document = yaml.safe_load((DEPLOY / "ci" / "checks.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(
        {
            "on" if name is True else name: value for name, value in document.items()
        },  # YAML 1.1 reads `on` as true
        get_builtin_schema("vendor.github-workflows"),
    )
    commands = [step["run"] for step in document["jobs"]["checks"]["steps"] if "run" in step]
    (command,) = [one for one in commands if one.startswith("ingestion checks")]
    asked = CliRunner().invoke(app, [*command.split()[1:], "--help"])
    assert asked.exit_code == 0, asked.output
    with pytest.raises(SystemExit) as wrong:
        app([*command.split()[1:], "--select", "nosuch"], prog_name="ingestion")
    assert wrong.value.code == 2
