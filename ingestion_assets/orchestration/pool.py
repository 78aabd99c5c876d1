"""Celery's prefork pool, with a child that ends replaced at once.

A child's sentinel can be read a moment before its end can be waited for. Celery looks only once, and then again every 5 s: until
then a run given to that child waits (https://github.com/celery/celery/issues/9588).
"""

from typing import Any

from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool

END_S = 1.0  # from its sentinel to its end: microseconds, in truth


class _PromptPool(AsynPool):
    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        proc.join(END_S)
        super()._event_process_exit(hub, proc)


class PromptTaskPool(prefork.TaskPool):
    """Named by `worker_pool` in Celery's configuration."""

    Pool = _PromptPool
