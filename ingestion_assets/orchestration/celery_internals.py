"""The private parts of Celery, Kombu and Billiard that runs depend on, and why; no other module of ours uses any.

`test_celery_internals.py` says which of them an upgrade has moved.
"""

import json
import logging
import multiprocessing.process
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import billiard.pool
import redis
from celery import Celery
from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.connection import Connection
from kombu.transport import redis as kombu_redis

logger = logging.getLogger(__name__)

RECONNECT_S = 1.0
_MAIN_PROCESS = multiprocessing.process.current_process()
CHILD_END_S = 1.0  # from its sentinel to its end: microseconds, in truth


def allow_children() -> None:
    """Let the calling child of the pool start processes, as Dagster's multiprocess executor does.

    Billiard puts a process object of its own into `multiprocessing`, which says that there must be none, and cannot be pickled.
    """
    module: Any = multiprocessing.process
    module._current_process = _MAIN_PROCESS


class _QoS(kombu_redis.QoS):
    def ack(self, delivery_tag: str) -> None:
        """What stays in the broker is delivered again when its visibility timeout is over, and recognised by its heartbeat."""
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            self._quick_ack(delivery_tag)
            raise


class _Channel(kombu_redis.Channel):
    QoS = _QoS


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport, whose worker goes on when the broker went away under a task that had ended.

    A message that could not be acknowledged keeps its place in the prefetch window for as long as the connection object lives;
    kombu connects again without making a new one. After as many such tasks as the worker has places, it would ask for nothing
    any more. Named by `broker_transport` in Celery's configuration.
    """

    Channel = _Channel


class PromptConsumer(Consumer):
    """Celery's consumer, connected again within a second or so of the broker's return.

    Celery's own waits two seconds longer after each try, up to half a minute, and logs every try. Named by `worker_consumer` in
    Celery's configuration.
    """

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
            interval_start=RECONNECT_S,
            interval_step=0,
            interval_max=RECONNECT_S,
            callback=state.maybe_shutdown,
        )
        if tries:
            logger.warning("The broker answers again")
        self.first_connection_attempt = False
        return conn


class _PromptPool(AsynPool):
    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        proc.join(CHILD_END_S)
        super()._event_process_exit(hub, proc)


class PromptTaskPool(prefork.TaskPool):
    """Celery's prefork pool, with a child that ends replaced at once.

    A child's sentinel can be read a moment before its end can be waited for. Celery looks only once, and then again every 5 s:
    until then a run given to that child waits (https://github.com/celery/celery/issues/9588). Named by `worker_pool` in
    Celery's configuration.
    """

    Pool = _PromptPool


def replace_children_that_grow(app: Celery, *, spare_kb: int, grown_kb: Callable[[], int]) -> None:
    """Have the pool replace a child that has grown by more than `spare_kb` when a task ends; the child asks `grown_kb`.

    Billiard itself looks at the peak of all that the process ever held. That never goes down again after a large task, and
    counts what was loaded before the first one.
    """
    app.conf.worker_max_memory_per_child = spare_kb
    billiard.pool.mem_rss = grown_kb


def tasks_held_by_worker() -> list[str]:
    """Ids of the tasks that the broker has handed to this worker and that have not ended."""
    return [request.id for request in list(state.reserved_requests)]


def tasks_in_broker(
    broker: redis.Redis, queues: Iterable[str], *, prefix: str, is_held: Callable[[str], bool]
) -> Iterator[str]:
    """Ids of the tasks that wait in these queues or were handed out; of the latter those only that `is_held` says a worker has.

    Kombu keeps a list per priority, named after the queue with a separator and the priority, and a hash of what was handed out.
    """
    for queue in queues:
        for key in broker.scan_iter(match=f"{prefix}{queue}*", _type="list"):
            for message in broker.lrange(key, 0, -1):  # pyright: ignore[reportGeneralTypeIssues]
                yield _task_id(json.loads(message))
    for delivery in broker.hvals(f"{prefix}unacked"):  # pyright: ignore[reportGeneralTypeIssues]
        task_id = _task_id(json.loads(delivery)[0])
        if is_held(task_id):
            yield task_id


def _task_id(message: dict[str, dict[str, str]]) -> str:
    return message.get("headers", {}).get("id", "")
