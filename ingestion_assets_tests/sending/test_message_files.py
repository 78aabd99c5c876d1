"""Files of messages as text that is sent: lines without a prefix are given theirs."""

from pathlib import Path

import pytest

from ingestion_assets.entities.sending.message_files import MessageFile, parts

BOM = b"\xef\xbb\xbf"


def text_of(path: Path, content: bytes, prefix: str | None, *, after: int = 0) -> bytes:
    path.write_bytes(content)
    return b"".join(text for text, _ in parts(MessageFile(str(path), prefix), after=after))


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"1|a\n2|b\n", b"P|1|a\nP|2|b\n"),
        (b"1|a\r\n2|b", b"P|1|a\r\nP|2|b\n"),
        (b"\n1|a\n\n \t\r\n2|b\n\n", b"\nP|1|a\n\n \t\r\nP|2|b\n\n"),
        (BOM + b"1|a\n" + BOM + b"2|b\n", b"P|1|a\nP|" + BOM + b"2|b\n"),
        (b"#1|a\n", b"P|#1|a\n"),
        (b"", b""),
        (b"\n", b"\n"),
    ],
)
def test_every_line_that_says_something_gets_the_prefix(tmp_path: Path, content: bytes, sent: bytes) -> None:
    path = tmp_path / "some.tbl"
    assert text_of(path, content, "P") == sent
    assert text_of(path, content, None) == content
    for after in range(len(sent)):
        assert text_of(path, content, "P", after=after) == sent[after:]
