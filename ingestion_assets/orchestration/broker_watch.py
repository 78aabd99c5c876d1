"""Whether the broker takes runs. While it does not they wait in Dagster's queue instead of failing one after the other."""

import logging
import threading
import time

from celery import Celery

logger = logging.getLogger(__name__)

ANYWAY_S = 60.0


class BrokerWatch:
    """Looks at the broker as a launch would, by connecting to it. Logs that it went and that it is back, each once.

    Runs are held back for at most `ANYWAY_S` at a time: a look may err where a launch would not. Then one is launched anyway,
    and only if the broker does not take it are they held back again. What ends that at once is a broker that comes back.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._error: str | None = None
        self._hold_until = 0.0

    def look(self) -> str | None:
        """Why the broker cannot be reached now, within about 7 s; None where it can."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=0)
        except Exception as error:
            return str(error) or type(error).__name__
        return None

    def holds_back(self) -> bool:
        """Whether a run had better wait in the queue now."""
        error = self.look()
        with self._lock:
            self._note(error)
            return time.monotonic() < self._hold_until

    def refused(self, error: str | None) -> None:
        """The broker did not take a run; `error` is what a look said then."""
        with self._lock:
            self._note(error)
            self._hold_until = time.monotonic() + ANYWAY_S

    def _note(self, error: str | None) -> None:
        before, self._error = self._error, error
        if error is not None and before is None:
            self._hold_until = time.monotonic() + ANYWAY_S
            logger.warning("The broker does not answer, runs wait in the queue until it does: %s", error)
        elif error is None and before is not None:
            self._hold_until = 0.0
            logger.warning("The broker answers again")
