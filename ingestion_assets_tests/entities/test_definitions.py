"""Definition files: what is wrong with them is said with file, line and column; the schema editors use is the real one."""

import json
from pathlib import Path

import pytest

from ingestion_assets.entities.definition import json_schema
from ingestion_assets.entities.definition_files import SHIPPED, FaultyDefinitionsError, read_entities
from ingestion_assets_tests.entities.definitions import TPCH, WORKSHOP, WORKSHOP_FOLDER

GOOD = """\
entity: Note
prefix: N
table: notes
fields:
  - {name: id, type: integer}
  - name: text
    type: string
    length: 10
primary_key: [id]
"""


def faults(folder: Path, **files: str) -> list[str]:
    """What is said of these files, without the folder."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FaultyDefinitionsError) as raised:
        read_entities([folder])
    return [str(fault).removeprefix(f"{folder}/") for fault in raised.value.faults]


def test_referenced_entities_come_first() -> None:
    assert [one.entity for one in TPCH.entities] == ["Customer", "Product", "Order", "OrderLineItem"]
    names = [one.entity for one in WORKSHOP.entities]
    assert names.index("Site") < names.index("Machine") < names.index("Reading")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("type: integer", "type: number", "n.yaml:5:22: type: input should be 'smallint', 'integer'"),
        ("    length: 10\n", "", "n.yaml:6:5: a string needs a length (or is of type text)"),
        ("length: 10", "lenght: 10", "n.yaml:8:13: `lenght` is not known here"),
        ("prefix: N\n", "", "n.yaml:1:1: `prefix` is missing"),
        ("primary_key: [id]", "primary_key: [key]", "n.yaml:9:1: primary_key: there is no field key"),
        ("table: notes", "table: notes\ntable: more", "n.yaml:4:1: `table` stands here twice"),
        ("[id]", "[id", "n.yaml:10:1: not valid YAML"),
        ("[id]", "[id]\nreferences:\n  - {fields: [id], entity: Nobody}", "n.yaml:11:28: there is no entity Nobody"),
        ("[id]", "[id]\nreferences:\n  - {fields: [text], entity: Note}", "n.yaml:11:6: text is a text, but Note.id is a whole number"),
    ],
)  # fmt: skip
def test_errors_have_file_line_and_column(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    found = faults(tmp_path, n=GOOD.replace(old, new, 1))
    assert any(one.startswith(said) for one in found), found


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    found = faults(tmp_path, a=GOOD.replace("type: integer", "type: number"), b="entity: [\n")
    assert [one.split(":")[0] for one in found] == ["a.yaml", "b.yaml"]


def test_two_entities_with_one_prefix(tmp_path: Path) -> None:
    found = faults(tmp_path, a=GOOD, b=GOOD.replace("Note", "Other").replace("notes", "others"))
    assert found == ["b.yaml:2:9: prefix N is taken by Note already"]


def test_published_schema_is_that_of_the_model() -> None:
    published = json.loads((SHIPPED.parent / "entity.schema.json").read_text(encoding="utf-8"))
    assert published == json_schema()


def test_schema_takes_what_we_take() -> None:
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    yaml = pytest.importorskip("yaml")
    check = jsonschema_rs.validator_for(json_schema())
    for file in (*SHIPPED.glob("*.yaml"), *WORKSHOP_FOLDER.glob("*.yaml")):
        check.validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    assert not check.is_valid(yaml.safe_load(GOOD.replace("type: integer", "type: number")))
