"""However a file is cut into requests and however it grew, the records read are the same."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.conversations.sending.slices import Mark, Record, read_slices
from ingestion_assets.sending.files import OpenFile
from ingestion_assets_tests.long_tests import examples

_OBJECT = st.dictionaries(st.text(max_size=4), st.text(max_size=12) | st.integers(), max_size=3)
_LINE = st.one_of(
    _OBJECT.map(lambda value: json.dumps(value).encode()),
    st.lists(_OBJECT, min_size=2, max_size=3).map(
        lambda values: b"".join(json.dumps(v).encode() for v in values)
    ),
    st.sampled_from(
        [b"", b"\r", b"null", b'{"type":"user","a', b"\x00\x00", b"\xef\xbb\xbf", b'{"t":"\xff"}']
    ),
)


def read(path: Path, mark: Mark, *, max_records: int, max_bytes: int) -> tuple[list[Record], Mark]:
    records: list[Record] = []
    with OpenFile(path) as file:
        for part in read_slices(
            file, path=str(path), mark=mark, max_records=max_records, max_bytes=max_bytes
        ):
            assert 1 <= len(part.records) <= max_records or not part.records
            assert part.record_bytes <= max_bytes or len(part.records) == 1
            records += part.records
            mark = part.mark
    return records, mark


@settings(max_examples=examples(80), deadline=None)
@given(
    lines=st.lists(_LINE, max_size=12),
    sizes=st.lists(st.floats(0, 1), max_size=4),
    max_records=st.integers(1, 5),
    max_bytes=st.integers(1, 120),
)
def test_the_records_do_not_depend_on_growth_or_cuts(
    tmp_path_factory, lines, sizes, max_records, max_bytes
) -> None:
    content = b"".join(line + b"\n" for line in lines)
    path = tmp_path_factory.mktemp("slices") / "s.jsonl"
    path.write_bytes(content)
    whole, _ = read(path, Mark(), max_records=10_000, max_bytes=1 << 30)
    pieces: list[Record] = []
    mark = Mark()
    for share in [*sorted(sizes), 1.0]:
        path.write_bytes(content[: int(len(content) * share)])
        records, mark = read(path, mark, max_records=max_records, max_bytes=max_bytes)
        pieces += records
    assert pieces == whole
    assert mark.line == len(lines) + 1
    assert all(content[record.offset :].startswith(record.raw[:6]) for record in whole)
