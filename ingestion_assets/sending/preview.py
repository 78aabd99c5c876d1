"""Reads what would be sent and counts it, without sending or remembering anything."""

from collections.abc import Iterable

from ingestion_assets.sending.memory import Memory
from ingestion_assets.sending.requests import document
from ingestion_assets.sending.sender import Cut
from ingestion_assets.sending.slices import READ_BUFFER_BYTES, Mark, Problem, read_slices
from ingestion_assets.sending.sources import Source
from ingestion_assets.sending.tally import Tally


def preview(
    sources: Iterable[Source], *, memory: Memory, cut: Cut, tally: Tally, forget: bool = False
) -> None:
    """Fill the tally with what sending would meet; `forget` counts from the start of each file."""
    for source in sources:
        tally.add(files=1)
        with source.path.open("rb", buffering=READ_BUFFER_BYTES) as file:
            if source.kind != "transcript":
                outgoing = document(source, file.read())
                if isinstance(outgoing, Problem):
                    tally.unsendable_found([outgoing])
                else:
                    tally.add(**{"todos" if source.kind == "todos" else "configs": 1, "requests": 1})
                continue
            mark = Mark() if forget else memory.mark_of(file, path=source.path)
            parts = read_slices(
                file, path=source.path, mark=mark, max_records=cut.max_records, max_bytes=cut.max_bytes
            )
            for part in parts:
                tally.add(requests=1, sent=len(part.records), bytes_done=part.mark.offset - part.start)
                tally.unsendable_found(part.problems)
                tally.noted(part.notes)
                if part.incomplete is not None:
                    tally.incomplete[str(source.path)] = part.incomplete
