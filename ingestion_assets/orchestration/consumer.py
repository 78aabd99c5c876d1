"""Celery's consumer, connected again within a second or so of the broker's return.

Celery's own waits two seconds longer after each try, up to half a minute, and logs every try.
"""

import logging

from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.connection import Connection

logger = logging.getLogger(__name__)

RETRY_S = 1.0


class PromptConsumer(Consumer):
    """Named by `worker_consumer` in Celery's configuration."""

    def ensure_connected(self, conn: Connection) -> Connection:
        """`conn`, connected, however long that takes. Raises `WorkerShutdown` once the worker is to stop."""
        tries = 0

        def say_once(error: Exception, _interval: float) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                logger.warning("The broker does not answer; trying until it does: %s", error)

        conn.ensure_connection(
            say_once,
            interval_start=RETRY_S,
            interval_step=0,
            interval_max=RETRY_S,
            callback=state.maybe_shutdown,
        )
        if tries:
            logger.warning("The broker answers again")
        self.first_connection_attempt = False
        return conn
