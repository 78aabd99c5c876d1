"""What `deploy/` starts, read from its files: one process of ours for each service of Compose and container of Kubernetes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = DEPLOY / "kubernetes"
OURS = "ingestion-assets"
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of ours. `grace_s`: seconds between SIGTERM (or the hook before it) and SIGKILL."""

    where: str
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    grace_s: float
    copies: int
    described: Mapping[str, Any]
    """The service, or the pod's specification."""

    def option(self, name: str) -> str:
        return self.command[self.command.index(name) + 1]


def example_environment() -> dict[str, str]:
    """`.env.example`, what is left open there filled in, what is commented out left out."""
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value or f"{name}-0123456789-0123456789-0123456789" for name, value in pairs}


@lru_cache
def compose() -> dict[str, Any]:
    """`compose.yaml` with the variables of `.env.example` in it."""
    given = example_environment()

    def fill(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: fill(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if isinstance(value, str):
            return _VARIABLE.sub(lambda found: _filled(found, given), value).replace("$$", "$")
        return value

    return fill(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def _filled(found: re.Match[str], given: Mapping[str, str]) -> str:
    name, kind, default = found.groups()
    if name not in given and kind != "-":
        raise AssertionError(f"compose.yaml needs {name}, and .env.example does not have it")
    return given.get(name, default)


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every document of Kubernetes with the name of its file, kustomizations left out."""
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] not in {"Kustomization", "Component"}:
                yield path.name, document


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in manifests() if document["kind"] == kind]


def composed() -> list[Process]:
    return [
        Process(
            where="compose", name=name, command=tuple(service["command"]),
            environment=service["environment"],
            grace_s=float(service.get("stop_grace_period", "10s").removesuffix("s")), copies=1, described=service,
        )
        for name, service in compose()["services"].items() if service["image"] == OURS
    ]  # fmt: skip


def in_kubernetes() -> list[Process]:
    sources = {
        ("configMapRef", one["metadata"]["name"]): one["data"] for one in of_kind("ConfigMap")
    } | {("secretRef", one["metadata"]["name"]): one["stringData"] for one in of_kind("Secret")}  # fmt: skip
    found = []
    for workload in [*of_kind("Deployment"), *of_kind("Job")]:
        pod = workload["spec"]["template"]["spec"]
        for container in pod["containers"]:
            own = {variable["name"]: variable["value"] for variable in container.get("env", ())}
            for source in container["envFrom"]:
                ((kind, told),) = source.items()
                known = {(kind, told["name"]): {}} if told.get("optional") else {}
                own |= {**known, **sources}[kind, told["name"]]
            found.append(
                Process(
                    where="kubernetes", name=container["name"], command=tuple(container["args"]),
                    environment=own, grace_s=pod.get("terminationGracePeriodSeconds", 30),
                    copies=workload["spec"].get("replicas", 1), described=pod,
                )
            )  # fmt: skip
    return found
