"""Other loaders of delimited files, as their documentation says to use them, into the schema `peer` of the same server.

Each takes the `.tbl` files by entity and gives what it said of lines it could not take. They are told names and types of the
columns; keys and references they do not know. Install them with `pip install '.[bench]'`; one that is absent is left out.

sling's own wheel fetches its program from GitHub at the first start; `sling-linux-amd64` 1.4.11 is the last that carries it.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from measuring import ROOT

sys.path.insert(0, str(ROOT))

from ingestion_assets.entities.definition import Entity, EntityField
from ingestion_assets_tests.entities.definitions import TPCH

SCHEMA = "peer"
PATIENCE_S = 60
_COLOUR = re.compile("\x1b\\[[0-9;]*m")

Files = Mapping[str, Path]
"""A `.tbl` file by entity."""
Load = Callable[[str, Files], str]
"""Loads the files into a server, by URL; gives what was said of lines that were not taken."""


def peers() -> dict[str, Load]:
    """The loaders that are installed."""
    found: dict[str, Load] = {}
    if importlib.util.find_spec("dlt"):
        found |= {"dlt, Arrow": dlt_arrow, "dlt, rows": dlt_rows}
    if importlib.util.find_spec("sling_linux_amd64"):
        found["sling"] = sling
    return found


def dlt_arrow(url: str, files: Files) -> str:
    """Tables that pyarrow reads with the columns' types, loaded as CSV by COPY."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    def of(field: EntityField) -> Any:
        whole = {"bigint": pa.int64(), "integer": pa.int32(), "date": pa.date32()}
        return (
            pa.decimal128(field.precision, field.scale)
            if field.type == "decimal"
            else whole.get(field.type, pa.string())
        )

    def read(entity: Entity, file: Path) -> Any:
        columns = [*entity.names, "_end"]
        yield csv.read_csv(
            file, read_options=csv.ReadOptions(column_names=columns),
            parse_options=csv.ParseOptions(delimiter="|", quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types={field.name: of(field) for field in entity.fields}, include_columns=entity.names
            ),
        )  # fmt: skip

    return _dlt(url, files, read)


def dlt_rows(url: str, files: Files) -> str:
    """A dictionary a line, with the columns' types as hints."""

    def read(entity: Entity, file: Path) -> Iterator[dict[str, str]]:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield dict(zip(entity.names, line.rstrip("\n").split("|"), strict=False))

    return _dlt(url, files, read)


def _dlt(url: str, files: Files, read: Callable[[Entity, Path], Any]) -> str:
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
    import dlt  # noqa: PLC0415

    said = []
    with tempfile.TemporaryDirectory() as folder:
        for name, file in files.items():
            entity = TPCH.by_name[name]
            pipeline = dlt.pipeline(
                name, pipelines_dir=folder, destination=dlt.destinations.postgres(url), dataset_name=SCHEMA
            )
            columns = {field.name: _hint(field) for field in entity.fields}
            resource = dlt.resource(
                read(entity, file), name=entity.table, columns=columns, write_disposition="append"
            )
            try:
                pipeline.run(resource, loader_file_format="csv")
            except Exception as error:
                said.append(f"{type(error.__cause__ or error).__name__}, ended")
    return "; ".join(said)


def _hint(field: EntityField) -> Any:
    kind = {"bigint": "bigint", "integer": "bigint", "date": "date", "decimal": "decimal"}.get(
        field.type, "text"
    )
    return {"data_type": kind} | (
        {"precision": field.precision, "scale": field.scale} if kind == "decimal" else {}
    )


def sling(url: str, files: Files) -> str:
    """A stream a file, with the columns' types."""
    import sling_linux_amd64  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

    program = Path(sling_linux_amd64.__file__).parent / "bin" / "sling-linux-amd64"
    said = []
    with tempfile.TemporaryDirectory() as folder:
        for name, file in files.items():
            entity = TPCH.by_name[name]
            columns = {
                f"col_{number:03d}": _sling_type(field) for number, field in enumerate(entity.fields, 1)
            }
            config = {
                "source": "LOCAL", "target": "PEER",
                "streams": {
                    f"file://{file}": {
                        "object": f"{SCHEMA}.{entity.table}", "mode": "full-refresh", "columns": columns,
                        "source_options": {"delimiter": "|", "header": False, "quote": "", "trim_space": False},
                    }
                },
            }  # fmt: skip
            replication = Path(folder) / f"{name}.yaml"
            replication.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
            try:
                done = subprocess.run(
                    (str(program), "run", "-r", str(replication)), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
                    env={"PATH": os.environ["PATH"], "HOME": folder, "PEER": url + "?sslmode=disable", "SLING_DISABLE_TELEMETRY": "true"},
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                said.append(f"hung, ended after {PATIENCE_S} s")
                continue
            if done.returncode != 0:
                said.append(_COLOUR.sub("", (done.stdout + done.stderr).strip().splitlines()[-1]))
    return "; ".join(said)


def _sling_type(field: EntityField) -> str:
    return {"bigint": "bigint", "integer": "integer", "date": "date", "decimal": "decimal"}.get(
        field.type, "string"
    )
