"""Small files made here: what their bytes are decides, not their names; what is lost or mended is told."""

import io
import wave
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.parsing.parsed_files import Limits, ParsedFile, ParseOptions
from ingestion_assets.documents.parsing.sandbox import parse
from ingestion_assets.documents.sample_documents import FORMATS


def parsed(folder: Path, name: str, data: bytes, **options: object) -> ParsedFile:
    path = folder / "file"
    path.write_bytes(data)
    return parse(
        path,
        name,
        ParseOptions(**{"ocr": "never", **options}),
        limits=Limits(timeout_s=60, max_characters=200_000),
    )  # type: ignore[arg-type]


def archive(**members: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        for name, text in members.items():
            target.writestr(name, text)
    return written.getvalue()


def image(kind: str) -> bytes:
    written = io.BytesIO()
    Image.new("L", (100, 100), 255).save(written, kind)
    return written.getvalue()


def sound() -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(range(256)) * 20)
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "mime"),
    [
        ("a.pdf", b"<!DOCTYPE html><html><body><p>A page.</p></body></html>", "text/html"),
        ("a.txt", b"{\\rtf1\\ansi A letter.}", "application/rtf"),
        ("readme.md", b"<p align=center>A logo</p>\n\n# Title\n\nText.", "text/markdown"),
        ("page", b"<div>A piece of a page</div>", "text/html"),
        ("letter", b"From: a@example.com\nTo: b@example.com\nSubject: Hello\n\nDear B, this is a mail.", "message/rfc822"),
        ("a.eml", b"Subject: Hello\n\nDear B, this is a mail.", "message/rfc822"),
        ("notes.txt", b"Date: today.\nThis is no mail, though it begins like one.", "text/plain"),
        ("a.docx", b"name,size\na,1\nb,2\n", "text/plain"),
        ("a.tsv", b"name\tsize\na\t1\nb\t2\n", "text/csv"),
    ],
)  # fmt: skip
def test_content_decides_what_a_file_is(tmp_path: Path, name: str, data: bytes, mime: str) -> None:
    assert parsed(tmp_path, name, data).mime == mime


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.txt", b"", "empty_file"),
        ("a.txt", b" \n\t\n", "no_text"),
        ("a.txt", b"\0" * 100, "low_quality"),
        ("a.zip", archive(a="text"), "unsupported_type"),
        ("a.docx", archive(a="text"), "unsupported_type"),
        ("a.docx", b"PK\x03\x04 and no more", "corrupted"),
        ("a.pptx", archive(**{"[Content_Types].xml": "<x/>", "ppt/presentation.xml": "<x/>"}), "corrupted"),
        ("a.xlsx", archive(**{"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<"}), "corrupted"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "unsupported_type"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "password_required"),
        ("a.wav", sound(), "unsupported_type"),
        ("a.pdf", b"%PDF-1.7\nand no more", "corrupted"),
        ("a.png", image("png"), "no_text"),
        ("a.txt", b"word " * 50_000, "too_large"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_by_a_code(tmp_path: Path, name: str, data: bytes, code: str) -> None:
    with pytest.raises(FileError) as failed:
        parsed(tmp_path, name, data)
    assert (failed.value.code, failed.value.stage) == (code, "parsing")


def test_images_that_are_blank_or_damaged(tmp_path: Path) -> None:
    for data, code in (
        (image("png"), "no_text"),
        (image("tiff"), "no_text"),
        (image("png")[:60], "corrupted"),
    ):
        with pytest.raises(FileError) as failed:
            parsed(tmp_path, "a.png", data, ocr="auto")
        assert failed.value.code == code


def test_nuls_are_replaced_and_counted(tmp_path: Path) -> None:
    found = parsed(
        tmp_path, "a.txt", b"Hello world, this is a text. \0 And more of it, in plain English. \0 " * 5
    )
    assert "\0" not in found.text
    assert found.text.count("\ufffd") == 10
    assert [note.sentence for note in found.warnings] == [
        "10 NULs or lone surrogates were replaced by U+FFFD."
    ]


def test_mathml_is_latex_or_left_out(tmp_path: Path) -> None:
    page = b"<html><body><p>If <math><mfrac><mi>a</mi><mi>b</mi></mfrac><mo>&lt;</mo><msup><mi>x</mi><mn>2</mn></msup></math>, then.</p></body></html>"
    assert parsed(tmp_path, "a.html", page).text == "If $\\frac{a}{b}<{x}^{2}$, then."
    assert "$" not in parsed(tmp_path, "a.html", page, extract_math=False).text


def test_targets_of_links_and_pictures_are_left_out_and_code_is_kept(tmp_path: Path) -> None:
    page = b"<html><body><h1>A_b</h1><p><a href='https://example.com/a_(b)?c=d'>A link</a> <img src='x.png' alt='a duck'> 2*3*4</p><pre><code>x = [1](2)\n</code></pre></body></html>"
    found = parsed(tmp_path, "a.html", page)
    assert "A link a duck 2*3*4" in found.text
    assert "example.com" not in found.text
    assert "x = [1](2)" in found.text
    assert [(block.kind, block.title) for block in found.blocks] == [("heading", "A_b"), ("code", "")]


def test_references_in_a_docx_are_the_characters_that_they_stand_for(tmp_path: Path) -> None:
    text = 'Workers\' "Falafel & Hummus" <combo>, 5 > 3, is &amp; stays what is sold here.'
    made = FORMATS["docx"](("R&D", [text, "Caf{e} opens at nine, and closes at ten."]))
    with zipfile.ZipFile(io.BytesIO(made)) as source:
        members = {name: source.read(name).decode().replace("{e}", "&#233;") for name in source.namelist()}
    written = parsed(tmp_path, "a.docx", archive(**members)).text
    assert "R&D" in written
    assert text in written
    assert "Café opens" in written


def test_notes_of_a_docx_stand_at_its_end_and_damaged_ones_are_told(tmp_path: Path) -> None:
    schema = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    note = (
        f'<w:footnotes xmlns:w="{schema}"><w:footnote><w:t>See the appendix.</w:t></w:footnote></w:footnotes>'
    )
    made = FORMATS["docx"](("Report", ["The text stays, whatever becomes of what stands below it."]))
    with zipfile.ZipFile(io.BytesIO(made)) as source:
        members = {name: source.read(name).decode() for name in source.namelist()}
    members |= {"word/footnotes.xml": note, "word/comments.xml": note[:-20]}
    members["word/endnotes.xml"] = " " * 2**24 + note
    found = parsed(tmp_path, "a.docx", archive(**members))
    assert "The text stays" in found.text
    assert found.text.rstrip().endswith("Footnotes\n\nSee the appendix.")
    assert [(one.code, one.sentence) for one in found.warnings] == [
        ("notes_left_out", "Endnotes of more than 16 MB are left out."),
        ("notes_left_out", "Comments are damaged and were left out."),
    ]
