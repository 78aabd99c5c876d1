"""What `celery_internals.py` relies on is still as it was: says what an upgrade of Celery, Kombu or Billiard has moved."""

import inspect

import billiard.pool
import pytest
import redis
from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from ingestion_assets.orchestration.celery_app import KEY_PREFIX, make_app, send_run
from ingestion_assets.orchestration.celery_internals import (
    PromptConsumer,
    PromptTaskPool,
    Transport,
    tasks_in_broker,
)
from ingestion_assets.settings import Settings
from ingestion_assets_tests.orchestration.conftest import Broker

SIGNATURES = {
    kombu_redis.QoS.ack: "(self, delivery_tag)",
    Consumer.ensure_connected: "(self, conn)",
    AsynPool._event_process_exit: "(self, hub, proc)",
    state.maybe_shutdown: "()",
}
PASSAGES = {
    "a message that is acknowledged leaves its place by the base class": (
        kombu_redis.QoS.ack,
        "super().ack(delivery_tag)",
    ),
    "a place is given back by itself": (virtual.QoS.__init__, "self._quick_ack = self._dirty.add"),
    "the pool looks once, without waiting": (AsynPool._event_process_exit, "self.maintain_pool()"),
    "the longest wait between tries to connect cannot be set": (
        Consumer.ensure_connected,
        "callback=maybe_shutdown",
    ),
    "a child asks for its memory by the name in its module": (
        billiard.pool.Worker.workloop,
        "used_kb = mem_rss()",
    ),
    "and ends where that is too much": (billiard.pool.Worker.workloop, "used_kb > max_memory_per_child"),
    "after what its process is told to do at its start": (
        billiard.pool.Worker.after_fork,
        "self.initializer(*self.initargs)",
    ),
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_what_is_overridden_or_called_has_its_signature(function: object) -> None:
    assert str(inspect.signature(function)) == SIGNATURES[function]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("what", PASSAGES)
def test_what_is_replaced_is_still_done_that_way(what: str) -> None:
    function, passage = PASSAGES[what]
    assert passage in inspect.getsource(function), what


def test_what_is_named_in_the_settings_is_what_a_worker_takes() -> None:
    app = make_app(Settings(redis_url="redis://broker.example.com", _env_file=None))  # pyright: ignore[reportCallIssue]
    assert app.connection_for_write().get_transport_cls() is Transport
    assert Transport.Channel.QoS.__bases__ == (kombu_redis.QoS,)
    assert issubclass(PromptConsumer, Consumer)
    assert PromptTaskPool.Pool.__bases__ == (prefork.TaskPool.Pool,)
    assert callable(billiard.pool.mem_rss)


def test_tasks_are_found_where_kombu_keeps_them(broker: Broker) -> None:
    """Sent with every priority, taken and not acknowledged."""
    app = make_app(Settings(redis_url=broker.server.url))
    sent = [f"run {priority}" for priority in range(10)]
    with redis.Redis.from_url(broker.server.url) as client:
        client.flushdb()
        for priority, run_id in enumerate(sent):
            send_run(app, run_id=run_id, queue="gpu", priority=priority)

        def found(held: str = "") -> list[str]:
            return sorted(
                tasks_in_broker(
                    client, ["default", "gpu"], prefix=KEY_PREFIX, is_held=lambda task: task == held
                )
            )

        assert found() == sent
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            channel._restore = lambda *_: None  # what is not acknowledged stays handed out
            message = connection.SimpleQueue("gpu", no_ack=False).get(timeout=5)
            taken = message.headers["id"]
            assert found() == [run_id for run_id in sent if run_id != taken]
            assert found(held=taken) == sent
            message.ack()
        client.flushdb()
