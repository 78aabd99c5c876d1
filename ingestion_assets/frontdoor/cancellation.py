"""Cancellations that a library has swallowed."""

import asyncio


def heed_cancellation() -> None:
    """End this task if it was told to end. For loops around Redis's client.

    That sends by `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that comes in the moment in which what it waits for
    ends; the loop would go on for ever, and whoever stops it would wait as long.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
