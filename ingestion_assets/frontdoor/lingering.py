"""How long a connection that is at its end goes on reading what nobody wants any more."""

import time

TOTAL_S = 60.0
SILENCE_S = 5.0
LEAVING_S = 1.0
MOST_BYTES = 256 * 2**20


class Lingering:
    """Counts what is passed over. Times are the event loop's, which are monotonic seconds."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self._bytes = 0
        self._end = 0.0

    def begin(self, *, short: bool) -> None:
        """The last answer is on its way: `deadline` is when the connection is closed, unless more comes."""
        self._end = time.monotonic() + (LEAVING_S if short else TOTAL_S)
        self.deadline = min(self._end, time.monotonic() + SILENCE_S)

    def passes_over(self, size: int) -> bool:
        """So many bytes more came; whether it may go on."""
        self._bytes += size
        if self.deadline is not None:
            self.deadline = min(self._end, time.monotonic() + SILENCE_S)
        return self._bytes <= MOST_BYTES
