"""`ingestion zones check`: what cannot be in force is said, as far as that can be said without a database."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingestion_assets_tests.zones.conftest import RECORD

SECRET = "EXAMPLE_SECRET"
MODULE = f"""
from pathlib import Path

import dagster as dg

from ingestion_assets.zones import DropZone
from ingestion_assets.zones.zone_assets import zone_definitions

def zone(name, **given):
    given = {{"key": "id", "records": {{"schema": "record.json"}}, "table": {{"postgres": f"shop.{{name}}"}}, **given}}
    return zone_definitions(DropZone(name=name, **given).zone(Path(__file__).parent))

defs = dg.Definitions.merge(
    zone("fine"),
    zone("files", table={{"parquet": "file:///srv/files"}}, version="at"),
    zone("nowhere", table={{"parquet": "nowhere://srv/files"}}),
    zone("documents"),
    zone("hooks", verify={{"kind": "standard-webhooks", "secret": {{"env": "{SECRET}"}}}}),
    zone("unset", verify={{"kind": "stripe", "secret": {{"env": "{SECRET}_TWO"}}}}),
    zone("long", table={{"postgres": "shop." + "o" * 64}}),
    zone("dollars", table={{"mongodb": "$a.b"}}),
    zone("optional", key="note"),
    zone("place", records={{"schema": "place.json"}}, table={{"duckdb": "here.duckdb/place"}}),
)
"""
SAID = {
    "fine": None,
    "files": "there is no version",
    "nowhere": "nowhere://srv/files cannot be opened",
    "documents": "documents is the name of a flow that is installed",
    "hooks": "secret 1 of `verify` is not what the sender shows",
    "unset": "EXAMPLE_SECRET_TWO is not set",
    "long": "at most 63 bytes",
    "dollars": "no collection can be called '$a.b'",
    "optional": "the key note may be missing",
    "place": "_receipt is a name that tables have themselves",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    properties = {**RECORD["properties"], "at": {"type": "string", "format": "date-time"}, "note": {"type": "string"}}  # fmt: skip
    record = {**RECORD, "required": ["id", "at"], "properties": properties}
    place = {**RECORD, "properties": {**RECORD["properties"], "_receipt": {"type": "string"}}}
    for name, content in (("record", record), ("place", place)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "shop.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


def test_zones_that_cannot_be_in_force_are_told_of(project: Path) -> None:
    environment = {**os.environ, SECRET: "whsec_nö", "INGESTION_HOME": str(project / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "ingestion_assets.cli", "zones", "check", "shop", "--json"],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {one["zone"]: one["fault"] for one in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == SAID.keys(), done.stderr
    for name, said in SAID.items():
        assert (found[name] is None) if said is None else (said in (found[name] or "")), (name, found[name])
    assert done.returncode == 1
    assert "No database was asked" in done.stderr
