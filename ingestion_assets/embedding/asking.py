"""Texts become vectors where the model is warm: in a worker on the queue `gpu` where one lives, else in the caller's own process.

Callers leave texts in a table and wait. Answerers take questions first, then what waits of all callers together, by model. What an
answerer that died had in hand is taken by another; where none is left, the caller takes it back and does it itself.
Vectors of models behind endpoints are always fetched by the caller.
"""

from __future__ import annotations

import array
import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import sqlalchemy as sa

from ingestion_assets.embedding.errors import EmbeddingError, EmbeddingUnavailableError, StoppedError
from ingestion_assets.embedding.models import Model, text_model
from ingestion_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np

CHANNEL = "embedding_requests"
ANSWERS = "embedding_answers"
"""Tells the ids of questions that were answered."""
GONE_S = 15.0
"""Seconds without a heartbeat after which an answerer counts as dead."""
PIECE = 256  # texts of one request
LOOK_FIRST_S, LOOK_LAST_S = 0.01, 0.2
QUESTION_S = 6.0

_LIVES = sa.text("""
    SELECT EXISTS (SELECT FROM embedding.answerers
                   WHERE (main OR :any) AND beat_at > clock_timestamp() - make_interval(secs => :gone_s))
""")
_ASK = sa.text("""
    INSERT INTO embedding.requests (id, model, question, size, texts) VALUES (:id, :model, :question, :size, :texts)
""")
_NOTIFY = sa.text(f"NOTIFY {CHANNEL}")
_LOOK = sa.text(
    "SELECT vectors IS NOT NULL OR error IS NOT NULL AS answered FROM embedding.requests WHERE id = :id"
)
_TAKE_BACK = sa.text(
    "DELETE FROM embedding.requests WHERE id = :id RETURNING model_id, width, vectors, error"
)
_TAKE_ANSWERED = sa.text("""
    DELETE FROM embedding.requests WHERE id = :id AND (vectors IS NOT NULL OR error IS NOT NULL) RETURNING model_id, width, vectors, error
""")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: the id of the model and its vectors (float32, one text's after the other), or what went wrong."""

    model_id: str
    width: int
    packed: bytes
    error: str | None = None

    def vectors(self) -> np.ndarray:
        import numpy as np  # noqa: PLC0415 - front doors do without

        return np.frombuffer(self.packed, dtype="<f4").reshape(-1, self.width)


@dataclass(frozen=True, slots=True)
class Question:
    """A question's vector, as PostgreSQL reads it, and the id of the model that made it."""

    model_id: str
    vector: str
    width: int


def lives(connection: sa.Connection, *, any_at_all: bool = False) -> bool:
    """Whether a warm answerer lives; `any_at_all`: or one that stands in for it."""
    return bool(connection.scalar(_LIVES, {"any": any_at_all, "gone_s": GONE_S}))


def ask(
    connection: sa.Connection, model: str, texts: Sequence[str], *, question: bool = False, request: uuid.UUID | None = None
) -> uuid.UUID:  # fmt: skip
    """Leave texts for the answerers."""
    request = request or uuid.uuid4()
    packed = msgspec.msgpack.encode([text.encode(errors="replace") for text in texts])
    values = {"id": request, "model": model, "question": question, "size": len(texts), "texts": packed}
    connection.execute(_ASK, values)
    connection.execute(_NOTIFY)
    return request


def answered(connection: sa.Connection, request: uuid.UUID) -> bool:
    """Whether there is something to take. A request that is gone, as after a crash of the database, counts."""
    found = connection.scalar(_LOOK, {"id": request})
    return found is None or bool(found)


def take(connection: sa.Connection, request: uuid.UUID) -> Answer | None:
    """The answer; the request goes with it, answered or not. None: there is no answer."""
    return _answer(connection.execute(_TAKE_BACK, {"id": request}).one_or_none())


def _answer(row: sa.Row[Any] | None) -> Answer | None:
    if row is None or (row.vectors is None and row.error is None):
        return None
    return Answer(row.model_id or "", row.width or 0, row.vectors or b"", row.error)


def embed(
    engine: sa.Engine,
    model: Model,
    texts: Sequence[str],
    *,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _done: None,
) -> np.ndarray:
    """A unit vector for each text, float32 of (texts, width of the model).

    Raises `EmbeddingUnavailableError`, `EmbeddingRejectedError`, `StoppedError`.
    """
    import numpy as np  # noqa: PLC0415

    if not model.local or not texts:
        return model.encode(texts, stopped=stopped, progress=progress)
    found = []
    for start in range(0, len(texts), PIECE):
        piece = texts[start : start + PIECE]
        answer = _by_answerer(engine, model, piece, stopped)
        if answer is None:
            found.append(model.encode(piece, stopped=stopped))
        elif answer.error is not None:
            raise EmbeddingUnavailableError(answer.error)
        else:
            found.append(answer.vectors())
        progress(start + len(piece))
    return np.concatenate(found)


def _by_answerer(
    engine: sa.Engine, model: Model, texts: Sequence[str], stopped: Callable[[], bool]
) -> Answer | None:
    """None where no answerer lives, or none that has this revision of the model."""
    with engine.begin() as connection:
        if not lives(connection):
            return None
        request = ask(connection, model.name, texts)
    looked_for_life = time.monotonic()
    pause_s = LOOK_FIRST_S
    try:
        while True:
            with engine.connect() as connection:
                if answered(connection, request):
                    break
                if time.monotonic() - looked_for_life > GONE_S / 3:
                    looked_for_life = time.monotonic()
                    if not lives(connection):
                        break
            if stopped():
                raise StoppedError("Stopped while the texts waited for a worker.")
            time.sleep(pause_s)
            pause_s = min(LOOK_LAST_S, pause_s * 1.5)
    finally:
        with engine.begin() as connection:
            answer = take(connection, request)
    if answer is None or (answer.error is None and answer.model_id != model.id):
        return None
    return answer


class InThread(Protocol):
    """Runs work with a connection in a thread, as front doors do."""

    def __call__(self, work: Callable[[sa.Connection], Any], /) -> Awaitable[Any]: ...


class News(Protocol):
    """Waits until something was heard, or for so many seconds."""

    async def wait(self, seconds: float) -> None: ...


Hears = Callable[[tuple[str, str]], AbstractContextManager[News]]


async def ask_question(
    in_thread: InThread, settings: Settings, name: str | None, text: str, *, hears: Hears, within_s: float = QUESTION_S
) -> Question | None:  # fmt: skip
    """The vector of a question; None where nobody makes one in time. `hears` subscribes to what PostgreSQL tells on `ANSWERS`.

    Loads no model. Raises `UnknownModelError`.
    """
    model = text_model(name, settings)
    if not model.local:
        try:
            vector = await asyncio.wait_for(asyncio.to_thread(model.encode_question, text), within_s)
        except (EmbeddingError, TimeoutError):
            return None
        return Question(model.id, _literal(vector.tolist()), len(vector))
    request = uuid.uuid4()

    def leave(connection: sa.Connection) -> bool:
        there = lives(connection, any_at_all=True)
        if there:
            ask(connection, model.name, [text], question=True, request=request)
        return there

    def take_answered(connection: sa.Connection) -> Answer | None:
        return _answer(connection.execute(_TAKE_ANSWERED, {"id": request}).one_or_none())

    with hears((ANSWERS, str(request))) as news:
        if not await in_thread(leave):
            return None
        answer: Answer | None = None
        deadline = asyncio.get_running_loop().time() + within_s
        try:
            while answer is None and asyncio.get_running_loop().time() < deadline:
                await news.wait(LOOK_LAST_S)
                answer = await in_thread(take_answered)
        finally:
            if answer is None:
                answer = await in_thread(lambda connection: take(connection, request))
    if answer is None or answer.error is not None:
        return None
    values = array.array("f", answer.packed)
    if sys.byteorder == "big":
        values.byteswap()
    return Question(answer.model_id, _literal(values), answer.width)


def _literal(values: Sequence[float] | array.array[float]) -> str:
    return f"[{','.join(map(repr, values))}]"
