"""A worker's process that answers requests for vectors (see `asking`), beside its runs, until it ends.

Questions have a thread of their own, so that none waits for a batch to be over. Requests that a dead process had taken come again;
what kills its process again and again is answered with an error.
"""

import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.embedding.asking import ANSWERS, CHANNEL, GONE_S
from ingestion_assets.embedding.errors import EmbeddingError
from ingestion_assets.embedding.models import text_model
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.stores import postgres

TEXTS = 512  # taken at once, of all callers
TRIES = 3
LISTENS_S = 5.0
PAUSE_S = 2.0
KEPT_S = 3600.0

log = logging.getLogger(__name__)

_BEAT = sa.text("""
    INSERT INTO embedding.answerers (id, host, main) VALUES (:id, :host, :main)
    ON CONFLICT (id) DO UPDATE SET beat_at = clock_timestamp()
""")
_TIDY = sa.text("""
    WITH gone AS (DELETE FROM embedding.answerers WHERE beat_at < clock_timestamp() - make_interval(secs => :kept_s))
    DELETE FROM embedding.requests WHERE asked_at < clock_timestamp() - make_interval(secs => :kept_s)
""")
# Those that stand in take nothing while a main one lives. What is taken together is of one model, that of the oldest.
_TAKE = sa.text("""
    WITH open AS MATERIALIZED (
        SELECT id, model, size, asked_at, tries FROM embedding.requests
        WHERE vectors IS NULL AND error IS NULL AND question = :question
          AND (taken_by IS NULL OR taken_by <> :me AND NOT EXISTS (
               SELECT FROM embedding.answerers WHERE id = taken_by AND beat_at > clock_timestamp() - make_interval(secs => :gone_s)))
          AND (:main OR NOT EXISTS (
               SELECT FROM embedding.answerers WHERE main AND beat_at > clock_timestamp() - make_interval(secs => :gone_s)))
        ORDER BY asked_at LIMIT 64 FOR UPDATE SKIP LOCKED
    ), filled AS (
        SELECT id, sum(size) OVER (ORDER BY asked_at, id) - size AS before FROM open
        WHERE model = (SELECT model FROM open ORDER BY asked_at, id LIMIT 1)
    )
    UPDATE embedding.requests request SET taken_by = :me, tries = request.tries + 1
    FROM filled WHERE filled.id = request.id AND filled.before < :texts
    RETURNING request.id, request.model, request.texts, request.tries
""")
_TELL = sa.text("""
    UPDATE embedding.requests SET model_id = :model_id, width = :width, vectors = :vectors WHERE id = :id AND taken_by = :me
""")
_TOLD = sa.text(f"SELECT pg_notify('{ANSWERS}', :ids)")
_FAIL = sa.text("UPDATE embedding.requests SET error = :error WHERE id = :id AND taken_by = :me")


class Answerer:
    """One process that answers: `main` takes all, others only where no main one lives."""

    def __init__(self, engine: sa.Engine, settings: Settings, *, main: bool) -> None:
        self.id = uuid.uuid4()
        self._engine = engine
        self._settings = settings
        self._main = main

    def beat(self) -> None:
        """It is alive."""
        with self._engine.begin() as connection:
            connection.execute(_BEAT, {"id": self.id, "host": socket.gethostname(), "main": self._main})
            connection.execute(_TIDY, {"kept_s": KEPT_S})

    def answer_open(self, *, question: bool) -> int:
        """Answer what waits, as much as is taken at once; gives the number of texts."""
        values = {"me": self.id, "main": self._main, "question": question, "gone_s": GONE_S, "texts": TEXTS}
        with self._engine.begin() as connection:
            taken = connection.execute(_TAKE, values).all()
        hopeless = [row for row in taken if row.tries > TRIES]
        self._fail(hopeless, f"{TRIES} processes were lost while they made vectors of these texts.")
        rows = [row for row in taken if row.tries <= TRIES]
        if not rows:
            return 0
        texts = [_unpacked(row.texts) for row in rows]
        try:
            model = text_model(rows[0].model, self._settings)
            if question:
                vectors = np.stack([model.encode_question(text) for asked in texts for text in asked])
            else:
                vectors = model.encode([text for asked in texts for text in asked])
        except EmbeddingError as error:
            self._fail(rows, str(error))
            return 0
        except Exception as error:
            log.exception("texts got no vectors")
            self._fail(rows, f"The worker failed to make vectors ({type(error).__name__}).")
            return 0
        parts = np.split(vectors.astype("<f4"), np.cumsum([len(asked) for asked in texts])[:-1])
        with self._engine.begin() as connection:
            connection.execute(
                _TELL,
                [
                    {
                        "id": row.id, "me": self.id, "model_id": model.id,
                        "width": vectors.shape[1], "vectors": part.tobytes(),
                    }
                    for row, part in zip(rows, parts, strict=True)
                ],
            )  # fmt: skip
            if question:
                connection.execute(_TOLD, {"ids": ",".join(str(row.id) for row in rows)})
        return len(vectors)

    def _fail(self, rows: Sequence[sa.Row[Any]], error: str) -> None:
        if rows:
            with self._engine.begin() as connection:
                connection.execute(_FAIL, [{"id": row.id, "me": self.id, "error": error} for row in rows])


def begin_answering() -> None:
    """Have the calling process, a worker on the queue `gpu`, answer all requests until it ends."""
    _begin(main=True)


def begin_standing_in() -> None:
    """Have the calling process answer requests until it ends, where no worker on the queue `gpu` lives."""
    _begin(main=False)


def _begin(*, main: bool) -> None:
    settings = load_settings()
    answerer = Answerer(postgres.engine(), settings, main=main)
    _for_ever("embedding-beat", lambda: _beats(answerer, settings.heartbeat_s))
    for name, question in (("embedding-questions", True), ("embedding-batches", False)):
        _for_ever(name, lambda question=question: _answers(answerer, settings, question=question))


def _for_ever(name: str, work: Callable[[], object]) -> None:
    def again() -> None:
        while True:
            try:
                work()
            except (psycopg.Error, SQLAlchemyError) as error:
                log.debug("%s: the database cannot be asked: %s", name, type(error).__name__)
            except Exception:
                log.exception("%s failed", name)
            time.sleep(PAUSE_S)

    threading.Thread(target=again, name=name, daemon=True).start()


def _beats(answerer: Answerer, every_s: float) -> None:
    while True:
        answerer.beat()
        time.sleep(every_s)


def _answers(answerer: Answerer, settings: Settings, *, question: bool) -> None:
    url = postgres.driver_url(settings.require("postgres_url"), "psycopg").set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as listening:
        listening.execute(f"LISTEN {CHANNEL}")
        while True:
            while answerer.answer_open(question=question):
                pass
            for _ in listening.notifies(timeout=LISTENS_S, stop_after=1):
                pass


def _unpacked(texts: bytes) -> list[str]:
    return [text.decode() for text in msgspec.msgpack.decode(texts, type=list[bytes])]
