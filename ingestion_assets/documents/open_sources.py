"""The sources that a run has open: in each thread one of each connection, opened anew once the connection is another."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.source import Source


class OpenSources:
    """Of one run. `connected` gives a connection as it is now, `open_source` opens its source."""

    def __init__(
        self, connected: Callable[[str], Connection], open_source: Callable[[Connection], Source]
    ) -> None:
        self._connected, self._open_source = connected, open_source
        self._of_threads = threading.local()
        self._open: list[Source] = []
        self._lock = threading.Lock()

    def of(self, connection_id: str) -> tuple[Source, str]:
        """This thread's source of the connection, and the sealed configuration that it was opened by. Raises `FileError`."""
        mine: dict[str, tuple[Source, str]] = self._of_threads.__dict__.setdefault("by_connection", {})
        one = self._connected(connection_id)
        if connection_id in mine and mine[connection_id][1] != one.sealed:
            self._close(mine.pop(connection_id)[0])
        if connection_id not in mine:
            mine[connection_id] = self._open_source(one), one.sealed
            with self._lock:
                self._open.append(mine[connection_id][0])
        return mine[connection_id]

    def close(self) -> None:
        """All of them, when no thread uses one any more."""
        for source in list(self._open):
            self._close(source)

    def _close(self, source: Source) -> None:
        with self._lock:
            self._open.remove(source)
        with contextlib.suppress(Exception):
            source.close()
