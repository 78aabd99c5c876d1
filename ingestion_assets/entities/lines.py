"""Single lines: cutting a payload into records, and reading one with exact errors. The bulk path must agree with this."""

from collections.abc import Iterator
from dataclasses import dataclass

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.values import Read, ValueFault, reader, shown

BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r"
LONGEST_LINE = 16 * 2**20
GLUED = "; should these be several lines: `curl -d` takes line ends away, `curl --data-binary` leaves them"


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it stands in its payload: line number from 1, byte offset from 0, bytes without the line's end."""

    number: int
    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class LineFault:
    """Why a line cannot be stored: a stable code, the sentence, and where it applies the entity and field."""

    code: str
    message: str
    entity: str | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A line that was read: its values as PostgreSQL takes them, in the order of the entity's fields."""

    entity: Entity
    values: tuple[str | None, ...]


def records(body: bytes, *, begins: bool = True) -> Iterator[Line]:
    """The lines of a payload but for blank ones and `#` comments. A line ends with `\\n` or `\\r\\n`.

    A byte order mark is one only where a text `begins`, which a later part of a stream does not.
    """
    start = len(BOM) if begins and body.startswith(BOM) else 0
    number = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        number += 1
        raw = body[start : end - 1] if body[end - 1 : end] == b"\r" and end > start else body[start:end]
        if raw[:1] != b"#" and raw.strip(BLANK):
            yield Line(number, start, raw)
        start = end + 1


def read_line(entities: EntitySet, raw: bytes) -> Row | LineFault:
    """Read one line. The first thing that is wrong with it, by the order of its fields, is what is said."""
    if len(raw) > LONGEST_LINE:
        return LineFault("line_too_long", f"expected a line of at most {LONGEST_LINE} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return LineFault("not_utf8", f"not valid UTF-8: {error.reason} at byte {error.start + 1} of the line")
    prefix, *fields = text.split("|")
    entity = entities.by_prefix.get(prefix)
    if entity is None:
        known = ", ".join(sorted(entities.by_prefix))
        return LineFault(
            "unknown_prefix", f"expected a line that begins with one of {known} and `|`, got {shown(prefix)}"
        )
    wanted = len(entity.fields)
    if entity.required < len(fields) <= wanted + 1 and not fields[-1]:  # one trailing `|`
        fields.pop()
    if not entity.required <= len(fields) <= wanted:
        code = "too_few_fields" if len(fields) < entity.required else "too_many_fields"
        return LineFault(
            code, f"expected {wanted + 1} fields separated by `|`, got {len(fields) + 1}", entity.entity
        )
    values: list[str | None] = []
    for index, (read, value) in enumerate(zip(_readers(entity), fields, strict=False)):
        try:
            values.append(read(value))
        except ValueFault as fault:
            name = entity.fields[index].name
            got = "nothing" if fault.code == "missing_value" else shown(value)
            message = f"expected {fault.expected} in field {index + 2} ({name}), got {got}"
            return LineFault(fault.code, message, entity.entity, name)
    values += [None] * (wanted - len(values))
    return Row(entity, tuple(values))


def looks_glued(entities: EntitySet, raw: bytes) -> bool:
    """Whether a line that has too many fields may be several, whose ends somebody took away."""
    prefix, *fields = raw.split(b"|")
    entity = entities.by_prefix.get(prefix.decode(errors="replace"))
    prefixes = tuple(one.encode() for one in entities.by_prefix)
    return entity is not None and any(one.endswith(prefixes) for one in fields[entity.required - 1 : -1])


_made: dict[int, tuple[Entity, tuple[Read, ...]]] = {}


def _readers(entity: Entity) -> tuple[Read, ...]:
    """The readers of an entity's fields, made once; by identity, since to hash a definition takes longer than to read a line."""
    known = _made.get(id(entity))
    if known is None or known[0] is not entity:
        known = _made[id(entity)] = entity, tuple(reader(field, entity.formats) for field in entity.fields)
    return known[1]
