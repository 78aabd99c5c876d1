"""Questions in words become vectors where the model is: in a worker. Readers leave them in a table and wait a moment.

Without a worker there is no vector, and the search goes by names alone.
"""

import logging
import threading
import time
import uuid

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.repositories.live_workers import OFFLINE, target
from ingestion_assets.repositories.settings import repositories_settings
from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres

CHANNEL = "repositories_questions"
KEPT_S = 60.0
LISTENS_S = 10.0
PAUSE_S = 2.0

log = logging.getLogger(__name__)

_ASK = sa.text("INSERT INTO repositories.questions (id, text) VALUES (:id, :text)")
_FORGET_OLD = sa.text(
    "DELETE FROM repositories.questions WHERE asked_at < clock_timestamp() - make_interval(secs => :kept_s)"
)
_NOTIFY = sa.text(f"NOTIFY {CHANNEL}")
_ANSWER = sa.text(
    "SELECT space, embedding::text AS vector FROM repositories.questions WHERE id = :id AND embedding IS NOT NULL"
)
_FORGET = sa.text("DELETE FROM repositories.questions WHERE id = :id")
_TAKE = sa.text("""
    SELECT id, text FROM repositories.questions
    WHERE embedding IS NULL AND asked_at > clock_timestamp() - make_interval(secs => :kept_s)
    ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED
""")
_TELL = sa.text(
    "UPDATE repositories.questions SET embedding = CAST(:vector AS halfvec), space = :space WHERE id = :id"
)


def ask(connection: sa.Connection, text: str) -> uuid.UUID | None:
    """Leave a question for the workers; None where there is none to answer it."""
    if target(connection) == OFFLINE:
        return None
    question = uuid.uuid4()
    connection.execute(_FORGET_OLD, {"kept_s": KEPT_S})
    connection.execute(_ASK, {"id": question, "text": text})
    connection.execute(_NOTIFY)
    return question


def answer(connection: sa.Connection, question: uuid.UUID) -> tuple[str, str] | None:
    """The model and the vector that a worker made of it; None where none has yet."""
    found = connection.execute(_ANSWER, {"id": question}).one_or_none()
    return None if found is None else (found.space, found.vector)


def forget(connection: sa.Connection, question: uuid.UUID) -> None:
    connection.execute(_FORGET, {"id": question})


def begin_answering() -> None:
    """Have the calling process answer questions until it ends."""
    threading.Thread(target=_answer_all, name="repositories-questions", daemon=True).start()


def _answer_all() -> None:
    url = postgres.driver_url(load_settings().require("postgres_url"), "psycopg").set(drivername="postgresql")
    while True:
        try:
            with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as listening:
                listening.execute(f"LISTEN {CHANNEL}")
                while True:
                    while _answer_one():
                        pass
                    for _ in listening.notifies(timeout=LISTENS_S, stop_after=1):
                        pass
        except (psycopg.Error, SQLAlchemyError) as error:
            log.debug("questions are not heard: %s", error)
        except Exception:
            log.exception("a question could not be answered")
        time.sleep(PAUSE_S)


def _answer_one() -> bool:
    """Answer the oldest question that nobody is at; whether there was one."""
    from ingestion_assets.repositories.snapshots import as_halfvec  # noqa: PLC0415 - with what front doors do without
    from ingestion_assets.repositories.text_model import text_model  # noqa: PLC0415
    from ingestion_assets.repositories.work import text_space  # noqa: PLC0415

    settings = repositories_settings()
    with postgres.engine().begin() as connection:
        question = connection.execute(_TAKE, {"kept_s": KEPT_S}).one_or_none()
        if question is None:
            return False
        vector = text_model(settings.text_model).encode([question.text])[0]
        connection.execute(
            _TELL, {"id": question.id, "vector": as_halfvec(vector), "space": text_space(settings)}
        )
    return True
