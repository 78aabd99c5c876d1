"""Bytes into records: where in a payload each record stands. Nothing is said here of what a record must hold."""


class UnreadableError(ValueError):
    """The body is no payload of records; says at which byte or line, never what stands there."""


def frame(body: bytes, *, media_type: str, path: str = "$") -> list[bytes]:
    """The records of a payload, in order, each as JSON bytes; an empty list where there are none.

    `media_type`: JSON (an object is a record, an array is one of records), JSON lines or CSV, by `kind_of`. `path`: a JSONPath
    (RFC 9535) to where the records lie in the JSON, or in each line of it; `$` and `$[*]` say the same.
    A bad line among good JSON lines is given as it stands: who reads it rejects it. Raises `UnreadableError`.
    """
    raise NotImplementedError


def kind_of(media_type: str) -> str | None:
    """`json`, `lines` or `csv` for a media type, None for one that is not taken. CSV's values are texts: `read(…, texts=True)`."""
    raise NotImplementedError


def check_path(path: str) -> None:
    """Raises `ValueError` with a sentence unless `path` is a JSONPath."""
    raise NotImplementedError
