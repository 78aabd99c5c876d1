"""The words of an identifier."""

import pytest

from ingestion_assets.embedding.identifiers import parts


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("HTTPServerError", ["http", "server", "error"]),
        ("http_server_error", ["http", "server", "error"]),
        ("httpServerError", ["http", "server", "error"]),
        ("__init__", ["init"]),
        ("größe_ändern", ["größe", "ändern"]),
        ("sha256", ["sha"]),
        ("x", []),
        ("_", []),
        ("a" * 41, []),
        ("", []),
    ],
)
def test_an_identifier_falls_into_its_words(identifier: str, words: list[str]) -> None:
    assert parts(identifier) == words
