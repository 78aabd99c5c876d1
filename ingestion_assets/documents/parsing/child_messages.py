"""What a parsing child and its parent say to each other."""

import msgspec

from ingestion_assets.documents.file_errors import Code
from ingestion_assets.documents.parsing.parsed_files import ParsedFile, ParseOptions


class Request(msgspec.Struct, frozen=True, tag=True):
    """Parse this file. Engines of `without` are left alone: an earlier child died of them."""

    path: str
    name: str
    options: ParseOptions
    max_characters: int
    without: frozenset[str]
    shows_pages: bool  # whether the parent answers `Shown`


class Progress(msgspec.Struct, frozen=True, tag=True):
    """About to give page `page` of `of` to `engine`."""

    page: int
    of: int
    engine: str


class Shown(msgspec.Struct, frozen=True, tag=True):
    """A page's image for the model; the parent answers `Told`."""

    page: int
    png: bytes


class Told(msgspec.Struct, frozen=True, tag=True):
    """What the model read; None where it is not to be asked again."""

    text: str | None


class Done(msgspec.Struct, frozen=True, tag=True):
    """The file's text. `last`: the child has grown, and ends now."""

    parsed: ParsedFile
    last: bool


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Why there is none."""

    code: Code
    sentence: str
    page: int | None
    last: bool


FROM_CHILD = msgspec.msgpack.Decoder(Progress | Shown | Done | Failed)
FROM_PARENT = msgspec.msgpack.Decoder(Request | Told)
