"""Waits for changes under the given paths and names the files that changed."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import watchfiles

from ingestion_assets.conversations.sending.sources import Source

RESCAN_MS = 2000
SETTLE_MS = 300


def changes(
    *,
    folders: Iterable[Path],
    find: Callable[[], list[Source]],
    stop: threading.Event,
    poll: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[list[Source]]:
    """Files to look at: first all of them, then those that changed, until `stop` is set.

    The operating system's notice only says when to look; every two seconds it is looked at anyway, so that a
    missed notice (network file systems, full queues) costs time and never data.
    """
    seen: dict[Path, tuple[int, int, int]] = {}  # size, time and inode when it was named last
    yield _changed(find(), seen)
    for _ in watchfiles.watch(
        *folders,
        stop_event=stop,
        debounce=SETTLE_MS,
        step=50,
        rust_timeout=RESCAN_MS,
        yield_on_timeout=True,
        force_polling=poll or None,
        raise_interrupt=False,
        ignore_permission_denied=True,
        watch_filter=None,
    ):
        if stop.is_set():
            return
        tick()
        if found := _changed(find(), seen):
            yield found


def _changed(sources: Iterable[Source], seen: dict[Path, tuple[int, int, int]]) -> list[Source]:
    changed = []
    for source in sources:
        try:
            status = source.path.stat()
        except OSError:
            continue
        now = (status.st_size, status.st_mtime_ns, status.st_ino)
        if seen.get(source.path) != now:
            seen[source.path] = now
            changed.append(source)
    return changed
