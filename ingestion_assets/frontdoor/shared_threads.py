"""Threads that users share: what takes long must not take all of them, nor those that everybody else is answered by."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

Value = TypeVar("Value")
Piece = tuple[Future[Any], Callable[[], Any]]


class SharedThreads:
    """A pool in which a user has `of_a_user` threads at most; more of the user's work waits for those, and holds up nobody else's."""

    def __init__(self, threads: int, *, of_a_user: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._of_a_user = of_a_user
        self._lock = Lock()
        self._at_work: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, deque[Piece]] = defaultdict(deque)

    async def run(self, user_id: str, work: Callable[[], Value]) -> Value:
        """What `work` returns or raises."""
        future: Future[Value] = Future()
        with self._lock:
            begins = self._at_work[user_id] < self._of_a_user
            if begins:
                self._at_work[user_id] += 1
            else:
                self._waiting[user_id].append((future, work))
        if begins:
            self._threads.submit(self._do, user_id, (future, work))
        return await asyncio.wrap_future(future)

    def _do(self, user_id: str, piece: Piece) -> None:
        """A piece of a user's work; the next goes to the end of the pool's queue, behind what others brought meanwhile."""
        future, work = piece
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
        following = self._next(user_id)
        if following is not None:
            self._threads.submit(self._do, user_id, following)

    def _next(self, user_id: str) -> Piece | None:
        with self._lock:
            if waiting := self._waiting.get(user_id):
                return waiting.popleft()
            self._at_work[user_id] -= 1
            if not self._at_work[user_id]:
                del self._at_work[user_id]
                self._waiting.pop(user_id, None)
            return None
