"""The lines of the active entities in the API document."""

import re

import pytest

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.line_schemas import example_line, line_schemas
from ingestion_assets.entities.lines import Row, read_line
from ingestion_assets_tests.entities.definitions import TPCH

ODD = Entity.model_validate(
    {
        "entity": "Odd",
        "prefix": "o.d",
        "table": "odd",
        "formats": {
            "date": "%d.%m.%Y",
            "timestamp": "%d.%m.%Y %H:%M:%S.%f",
            "decimal": ",",
            "when_true": ["ja"],
        },
        "fields": [
            {"name": "id", "type": "uuid"},
            {"name": "at", "type": "timestamp"},
            {"name": "day", "type": "date"},
            {"name": "sum", "type": "decimal", "precision": 3, "scale": 3},
            {"name": "yes", "type": "boolean"},
            {"name": "short", "type": "string", "length": 2},
            {"name": "kind", "type": "text", "values": ["a", "b"], "description": "Which."},
            {"name": "number", "type": "smallint", "nullable": True},
        ],
        "primary_key": ["id"],
    }
)
SETS = [TPCH, EntitySet.of([ODD])]


@pytest.mark.parametrize("entities", SETS, ids=["tpch", "odd"])
def test_examples_are_lines(entities: EntitySet) -> None:
    schemas = line_schemas(entities)
    assert len(schemas["EntityLines"]["anyOf"]) == len(entities.entities)
    for entity in entities.entities:
        schema = schemas[f"{entity.entity}Line"]
        assert schema["examples"] == [example_line(entity)]
        assert isinstance(read_line(entities, example_line(entity).encode()), Row)
        assert re.search(schema["pattern"], f"# a comment\n{example_line(entity)}")
        assert not re.search(schema["pattern"], f"x{example_line(entity)}")
        assert [field["name"] for field in schema["x-fields"]] == list(entity.names)


def test_fields_are_told_in_words() -> None:
    text = line_schemas(EntitySet.of([ODD]))["OddLine"]["description"]
    assert "1. `id`: uuid, primary key" in text
    assert "4. `sum`: decimal(3,3)" in text
    assert "7. `kind`: text, one of a, b. Which." in text
    assert "8. `number`: smallint, may be missing" in text
