"""The queues that workers take runs from: their names, their slots, what a flow's job says for them, and the limits that follow.

Light, as definitions import it; how runs get to a queue is in `celery_app.py`, who keeps the limits in `coordinator.py`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.run_tags import FLOW_TAG, HIDDEN
from ingestion_assets.settings import Settings

DEFAULT_QUEUE = "default"
GPU_QUEUE = "gpu"
BATCH_QUEUE = "batch"
"""For work of minutes in slices, which must not take the workers of what somebody waits for."""
QUEUES = (DEFAULT_QUEUE, GPU_QUEUE, BATCH_QUEUE)

QUEUE_TAG = f"{HIDDEN}queue"
CELERY_QUEUE_TAG = "dagster-celery/queue"
"""The same in dagster-celery's word, which the UI shows in each row of its Runs page: heeded where a person or an older release has set it."""
UNHURRIED_TAG = f"{HIDDEN}unhurried"
"""The queue of a run that no payload waits for (a backfill, a person's): one slot of it stays free of those."""

TASK_TAG = f"{HIDDEN}task"
"""Set once the broker has a run, which is then named by its own id there."""
ELSEWHERE_TAG = f"{HIDDEN}elsewhere"
"""Marks runs of other code locations, which another launcher starts; a tag that the UI does not show."""

_POD_OF = {GPU_QUEUE: {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}}
"""What the pod of a run needs where dagster-k8s launches runs, by queue."""


def slots(settings: Settings) -> dict[str, int]:
    """How many runs the workers of each queue execute at once."""
    return {
        DEFAULT_QUEUE: settings.workers_default,
        GPU_QUEUE: settings.workers_gpu,
        BATCH_QUEUE: settings.workers_batch,
    }


def job_tags(flow: Flow) -> dict[str, str]:
    """Tags of the flow's job, and so of all its runs, backfills and a person's among them. Dispatched ones have a priority above."""
    runs = flow.runs
    if runs.queue not in QUEUES:
        raise ValueError(f"the flow {flow.name} names the queue {runs.queue}; there are {', '.join(QUEUES)}")
    tags = {FLOW_TAG: flow.name, QUEUE_TAG: runs.queue, "dagster/max_runtime": f"{runs.longest_s:.0f}"}
    if runs.priority:
        tags["dagster/priority"] = str(runs.priority)
    if pod := _POD_OF.get(runs.queue):
        tags["dagster-k8s/config"] = json.dumps(pod)
    return tags


def queue_of(tags: Mapping[str, str]) -> str:
    """The queue that a run with these tags goes to."""
    return tags.get(QUEUE_TAG) or tags.get(CELERY_QUEUE_TAG, DEFAULT_QUEUE)


def tags_at_submission(tags: Mapping[str, str], *, dispatched: bool, warm: bool = True) -> dict[str, str]:
    """What a run with these tags lacks for the limits to hold for it; `warm`: the workers take it."""
    queue = queue_of(tags)
    wanted = {QUEUE_TAG: queue} if dispatched else {QUEUE_TAG: queue, UNHURRIED_TAG: queue}
    if not warm:
        wanted = {ELSEWHERE_TAG: "true"}
    return {name: value for name, value in wanted.items() if tags.get(name) != value}


def limits(settings: Settings, flows: Iterable[Flow]) -> list[dict[str, Any]]:
    """Dagster's `tag_concurrency_limits`: as many runs of a queue as it has slots, so that none waits in the broker, where its
    time to start would run out; unhurried ones in all of them but one; of a flow as many as it allows; of other code locations so
    many that the machine has room for ours."""
    found: list[dict[str, Any]] = [{"key": ELSEWHERE_TAG, "value": "true", "limit": settings.runs_elsewhere}]
    for queue, number in slots(settings).items():
        found.append({"key": QUEUE_TAG, "value": queue, "limit": number})
        found.append({"key": UNHURRIED_TAG, "value": queue, "limit": max(1, number - 1)})
    bounds = [(flow.name, flow.runs.bound()) for flow in flows]
    return found + [
        {"key": FLOW_TAG, "value": name, "limit": bound} for name, bound in bounds if bound is not None
    ]
