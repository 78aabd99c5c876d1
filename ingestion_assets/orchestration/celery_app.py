"""The Celery application that carries runs to workers: one set of settings for sending and executing."""

import ssl
from typing import Any

from celery import Celery
from kombu.entity import Queue

from ingestion_assets.orchestration.queues import DEFAULT_QUEUE, QUEUES
from ingestion_assets.settings import Settings

KEY_PREFIX = "ingestion:"
EXECUTE_RUN = "ingestion.execute_run"

VISIBILITY_TIMEOUT_S = 26 * 3600  # above the longest run (`dagster/max_runtime` is at most a day)
LOST_CHILD_WAIT_S = 1.0
WARM_UP_S = 600.0  # until then a process must have loaded what its flows want warm; Celery kills it after 4 s otherwise


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Celery's configuration, the same for launcher and workers.

    Runs report to Dagster and to the heartbeats, so Celery stores no results: nothing to expire, nothing to
    disagree. A task is acknowledged when it has ended (`acks_late`), so that a worker never holds back a task
    that another one could start; whatever the broker delivers twice is recognised by its heartbeat.
    """
    return {
        "broker_url": settings.require("redis_url"),
        "broker_use_ssl": _encryption(settings.require("redis_url")),
        "broker_transport": "ingestion_assets.orchestration.celery_internals:Transport",
        "broker_connection_timeout": 3,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # workers try for ever
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "socket_keepalive": True,
            "socket_connect_timeout": 2.0,
            "socket_timeout": 5.0,  # a broker that hangs is away too
            "health_check_interval": 10,
            "global_keyprefix": KEY_PREFIX,
        },
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": DEFAULT_QUEUE,
        "task_queues": [Queue(name, routing_key=name) for name in QUEUES],
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": True,
        "task_reject_on_worker_lost": False,
        "task_publish_retry": True,
        "task_publish_retry_policy": {
            "max_retries": 3, "interval_start": 0.1, "interval_step": 0.4, "interval_max": 1.0
        },
        "worker_consumer": "ingestion_assets.orchestration.celery_internals:PromptConsumer",
        "worker_pool": "ingestion_assets.orchestration.celery_internals:PromptTaskPool",
        "worker_prefetch_multiplier": 1,
        "worker_proc_alive_timeout": WARM_UP_S,
        "worker_max_tasks_per_child": 500,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_lost_wait": LOST_CHILD_WAIT_S,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_enable_remote_control": False,
        "timezone": "UTC",
    }  # fmt: skip


def _encryption(url: str) -> dict[str, Any] | bool:
    """For `rediss://` as redis-py takes it: the certificate is checked unless the URL's `ssl_…` parameters say otherwise.

    Kombu looks at the scheme only where it chooses the transport by itself.
    """
    return (
        {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss://") and "ssl_" not in url else False
    )


def make_app(settings: Settings) -> Celery:
    """A Celery application for sending runs; a worker adds the task to it."""
    app = Celery("ingestion", set_as_current=False)
    app.conf.update(celery_settings(settings))
    return app


def send_run(app: Celery, *, run_id: str, queue: str, priority: int = 0) -> None:
    """Hand a run to the workers of `queue`; the task's id is the run's.

    Raises `kombu.exceptions.OperationalError` within about 5 s where there is no broker.
    """
    app.send_task(EXECUTE_RUN, args=(run_id,), task_id=run_id, queue=queue, priority=priority)
