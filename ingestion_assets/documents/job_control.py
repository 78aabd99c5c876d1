"""What may be done with a job in which status, and what it then is. Pure."""

from collections.abc import Mapping
from typing import Literal, get_args

Status = Literal["pending", "queued", "running", "paused", "completed", "failed", "cancelled", "retrying"]
Action = Literal["start", "pause", "resume", "cancel", "retry"]
Priority = Literal["low", "normal", "high", "urgent"]

STATUSES: tuple[Status, ...] = get_args(Status)
ACTIONS: tuple[Action, ...] = get_args(Action)
OVER: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})
STEPS_OF: Mapping[Priority, int] = {"low": -10, "normal": 0, "high": 10, "urgent": 20}
STEP = 10
"""A job's priority in the ledger and in Dagster's queue, and what one step of it is."""

_WAITING = {"start": None, "pause": "paused", "cancel": "cancelled"}
_NEXT: Mapping[Status, Mapping[str, Status | None]] = {
    "pending": {"start": "queued", "cancel": "cancelled"},
    "queued": _WAITING,  # pyright: ignore[reportAssignmentType]
    "running": _WAITING,  # pyright: ignore[reportAssignmentType]
    "retrying": _WAITING,  # pyright: ignore[reportAssignmentType]
    "paused": {"pause": None, "resume": "queued", "cancel": "cancelled"},
    "completed": {"retry": "retrying"},
    "failed": {"retry": "retrying"},
    "cancelled": {"retry": "retrying"},
}


def allowed(status: Status) -> tuple[str, ...]:
    """The actions that a status allows."""
    return tuple(_NEXT[status])


def status_after(status: Status, action: Action) -> Status | None:
    """The status that an action leads to, None where it changes nothing. Raises `KeyError` for one that is not allowed."""
    return _NEXT[status][action]


class NotAllowedError(Exception):
    """The job's status does not allow the action."""

    def __init__(self, status: Status, action: Action) -> None:
        self.status, self.action, self.allowed = status, action, allowed(status)
        actions = " and ".join(self.allowed)
        super().__init__(f"A job that is {status} does not take {action}; it takes {actions}.")
