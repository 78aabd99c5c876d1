"""Reads what would be sent and counts it, without sending or remembering anything."""

from collections.abc import Iterable

from ingestion_assets.sending.files import OpenFile, reason_of
from ingestion_assets.sending.memory import Memory
from ingestion_assets.sending.requests import document
from ingestion_assets.sending.sender import Cut
from ingestion_assets.sending.slices import Mark, Problem, read_slices
from ingestion_assets.sending.sources import Source, unreadable
from ingestion_assets.sending.tally import Tally


def preview(
    sources: Iterable[Source], *, memory: Memory, cut: Cut, tally: Tally, forget: bool = False
) -> None:
    """Fill the tally with what sending would meet; `forget` counts from the start of each file. `requests` are at most
    so many: small files share them.
    """
    for source in sources:
        tally.add(files=1)
        try:
            with OpenFile(source.path) as file:
                if source.kind == "transcript":
                    mark = Mark() if forget else memory.mark_of(file, path=source.name)
                    _transcript(file, source, mark=mark, cut=cut, tally=tally)
                else:
                    _document(file, source, tally=tally)
        except FileNotFoundError:
            continue
        except OSError as error:
            tally.found("unsendable", [unreadable(source.name, reason_of(error))])


def _transcript(file: OpenFile, source: Source, *, mark: Mark, cut: Cut, tally: Tally) -> None:
    parts = read_slices(
        file, path=source.name, mark=mark, max_records=cut.max_records, max_bytes=cut.max_bytes
    )
    for part in parts:
        tally.add(
            requests=bool(part.records), sent=len(part.records), bytes_done=part.mark.offset - part.start
        )
        tally.found("unsendable", part.problems)
        tally.noted(part.notes)
        if part.incomplete is not None:
            tally.incomplete[source.name] = part.incomplete


def _document(file: OpenFile, source: Source, *, tally: Tally) -> None:
    record = document(source, file.read_all())
    if isinstance(record, Problem):
        tally.found("unsendable", [record])
    else:
        tally.add(**{"todos" if source.kind == "todos" else "configs": 1, "requests": 1})
