"""What the API document says of a batch has the fields that are read of it: they are written twice and must not part."""

import msgspec
import pytest
from pydantic import BaseModel

from ingestion_assets.conversations import documented, schema

READ = {"messages", "todos", "config", "sessionId"}


@pytest.mark.parametrize(
    ("read", "told"),
    [(schema.TodoFile, documented.TodoFile), (schema.Config, documented.ConfigFiles)],
    ids=["todos", "config"],
)
def test_the_document_names_what_is_read(read: type[msgspec.Struct], told: type[BaseModel]) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(read)}
    assert fields.keys() <= told.model_fields.keys()
    required = {name for name, field in fields.items() if field.required}
    assert {name for name, field in told.model_fields.items() if field.is_required()} == required


def test_a_batch_is_told_as_it_is_read() -> None:
    assert set(documented.Batch.model_fields) == READ
    given = schema.decode_envelope(b'{"messages":[1],"todos":[],"config":null,"sessionId":"s"}')
    assert {name for name in READ if hasattr(given, name)} == READ
