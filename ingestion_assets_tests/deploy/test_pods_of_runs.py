"""A run that dagster-k8s launches is a pod that finds the stores: by the configuration that the docs give, asked of a Kubernetes API."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from ingestion_assets.landing.flows import Flow, Runs
from ingestion_assets.orchestration.queues import job_tags
from ingestion_assets_tests.deploy.processes import manifests
from ingestion_assets_tests.deploy.test_schemas import KUBERNETES

DOCS = Path(__file__).parents[2] / "docs"


@contextmanager
def kubernetes_api() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An API server that takes jobs, its address, and the jobs that it took."""
    taken: list[dict[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path.startswith("/apis/batch/v1/namespaces/ingestion/jobs")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(json.loads(body))
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _documented() -> dict[str, Any]:
    text = (DOCS / "beside-other-code.md").read_text(encoding="utf-8")
    (found,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "instance_config_map" in block
    ]
    return yaml.safe_load(found)


def _kubeconfig(folder: Path, address: str) -> str:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": address}}],
        "users": [{"name": "test", "user": {"token": "t"}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


@dg.op
def nothing() -> None: ...


@dg.job
def work() -> None:
    nothing()


@pytest.mark.parametrize("queue", ["default", "gpu"])
def test_a_run_is_a_pod_with_what_it_needs(tmp_path: Path, queue: str) -> None:
    with kubernetes_api() as (address, taken):
        config = _documented() | {"telemetry": {"enabled": False}}
        config["run_launcher"]["config"] |= {
            "load_incluster_config": False, "kubeconfig_file": _kubeconfig(tmp_path, address),
        }  # fmt: skip
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        origin = RepositoryPythonOrigin("python", ModuleCodePointer("shop.definitions", "defs", None))
        flow = Flow(name="shop", location="shop", runs=Runs(queue=queue))
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
            run = instance.create_run_for_job(
                work, tags=job_tags(flow), job_code_origin=JobPythonOrigin("shop", origin)
            )
            instance.launch_run(run.run_id, None)  # pyright: ignore[reportArgumentType]
    (job,) = taken
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/shop:1"
    assert run.run_id in str(container["args"])
    maps = {one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one}
    secrets = {one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one}
    there = {(one["kind"], one["metadata"]["name"]) for _, one in manifests() if "metadata" in one}
    assert {("ConfigMap", name) for name in maps} <= there
    # The keys of the object store, should it need any, are in a secret that is optional for the others too.
    assert {("Secret", name) for name in secrets - {"ingestion-object-store"}} <= there
    assert container["resources"] == ({"limits": {"nvidia.com/gpu": "1"}} if queue == "gpu" else {})
