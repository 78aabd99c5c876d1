"""Texts are embedded by the process that has the model: whoever waits gets the vectors, whatever dies."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from ingestion_assets.embedding import answering, asking
from ingestion_assets.embedding.answering import Answerer
from ingestion_assets.embedding.errors import EmbeddingUnavailableError, StoppedError
from ingestion_assets.embedding.models import text_model
from ingestion_assets.frontdoor.notifications import Notifications
from ingestion_assets.settings import Settings

SettingsWith = Callable[..., Settings]
TEXTS = ["The moon is far away.", "Bread is baked.\0", "", "Ein Satz über Brot."]
QUIET = sa.text("UPDATE embedding.answerers SET beat_at = beat_at - interval '1 hour' WHERE id = :id")


@contextmanager
def answering_now(answerer: Answerer) -> Iterator[list[int]]:
    """Have `answerer` work in the background; gives the sizes of what it answered at once."""
    over = threading.Event()
    sizes: list[int] = []

    def work() -> None:
        while not over.is_set():
            answerer.beat()
            done = answerer.answer_open(question=True) + answerer.answer_open(question=False)
            if done:
                sizes.append(done)
            else:
                over.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def in_thread(engine: sa.Engine) -> Any:
    def run(work: Callable[[sa.Connection], Any]) -> Any:
        with engine.begin() as connection:
            return work(connection)

    return lambda work: asyncio.to_thread(run, work)


def rows(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT count(*) FROM embedding.requests")) or 0


def test_texts_are_embedded_by_an_answerer_as_by_the_caller(
    engine: sa.Engine, settings_with: SettingsWith
) -> None:
    settings = settings_with()
    model = text_model(None, settings)
    alone = asking.embed(engine, model, TEXTS)
    with answering_now(Answerer(engine, settings, main=True)) as sizes:
        while not _lives(engine):
            time.sleep(0.01)
        with ThreadPoolExecutor(8) as callers:
            found = list(callers.map(lambda _: asking.embed(engine, model, TEXTS), range(8)))
    for vectors in found:
        np.testing.assert_allclose(vectors, alone, atol=0.02)
    assert sum(sizes) == 8 * len(TEXTS)
    assert rows(engine) == 0


def _lives(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return asking.lives(connection)


def test_what_several_callers_wait_for_is_done_together_and_questions_first(
    engine: sa.Engine, settings_with: SettingsWith
) -> None:
    settings = settings_with()
    with engine.begin() as connection:
        batches = [asking.ask(connection, "all-MiniLM-L6-v2", TEXTS) for _ in range(5)]
        question = asking.ask(connection, "all-MiniLM-L6-v2", ["bread?"], question=True)
    answerer = Answerer(engine, settings, main=True)
    assert answerer.answer_open(question=True) == 1
    with engine.connect() as connection:
        assert asking.answered(connection, question)
        assert not asking.answered(connection, batches[0])
    assert answerer.answer_open(question=False) == 5 * len(TEXTS)
    with engine.begin() as connection:
        answers = [asking.take(connection, batch) for batch in batches]
    assert all(answer is not None and answer.vectors().shape == (4, 384) for answer in answers)


def test_models_never_mix_in_a_batch(engine: sa.Engine, settings_with: SettingsWith) -> None:
    with engine.begin() as connection:
        known = asking.ask(connection, "all-MiniLM-L6-v2", TEXTS)
        unknown = asking.ask(connection, "another", TEXTS)
    answerer = Answerer(engine, settings_with(), main=True)
    assert answerer.answer_open(question=False) == len(TEXTS)
    assert answerer.answer_open(question=False) == 0
    with engine.begin() as connection:
        said = asking.take(connection, unknown)
        assert asking.take(connection, known).error is None  # pyright: ignore[reportOptionalMemberAccess]
    assert said is not None
    assert "There is no embedding model 'another'" in (said.error or "")


def test_one_that_stands_in_takes_nothing_while_a_main_one_lives(
    engine: sa.Engine, settings_with: SettingsWith
) -> None:
    settings = settings_with()
    main, stand_in = Answerer(engine, settings, main=True), Answerer(engine, settings, main=False)
    main.beat()
    with engine.begin() as connection:
        asking.ask(connection, "all-MiniLM-L6-v2", TEXTS)
    assert stand_in.answer_open(question=False) == 0
    with engine.begin() as connection:
        connection.execute(QUIET, {"id": main.id})
    assert stand_in.answer_open(question=False) == len(TEXTS)


def test_what_a_dead_process_had_in_hand_is_done_by_another_until_it_is_hopeless(
    engine: sa.Engine, settings_with: SettingsWith
) -> None:
    settings = settings_with()
    with engine.begin() as connection:
        request = asking.ask(connection, "all-MiniLM-L6-v2", TEXTS)
    for _ in range(answering.TRIES):
        dies = Answerer(engine, settings, main=True)
        dies.beat()
        with engine.begin() as connection:
            assert connection.execute(answering._TAKE, _values(dies)).all()
            connection.execute(QUIET, {"id": dies.id})
    assert Answerer(engine, settings, main=True).answer_open(question=False) == 0
    with engine.begin() as connection:
        said = asking.take(connection, request)
    assert said is not None
    assert "3 processes were lost" in (said.error or "")


def _values(answerer: Answerer) -> dict[str, Any]:
    return {
        "me": answerer.id,
        "main": True,
        "question": False,
        "gone_s": asking.GONE_S,
        "texts": answering.TEXTS,
    }


def test_a_caller_whose_answerer_dies_does_it_itself(engine: sa.Engine, settings_with: SettingsWith) -> None:
    settings = settings_with()
    dies = Answerer(engine, settings, main=True)
    dies.beat()
    with ThreadPoolExecutor(1) as caller:
        found = caller.submit(asking.embed, engine, text_model(None, settings), TEXTS)
        while not rows(engine):
            time.sleep(0.01)
        with engine.begin() as connection:
            connection.execute(QUIET, {"id": dies.id})
        assert found.result().shape == (4, 384)
    assert rows(engine) == 0


def test_a_stopped_caller_leaves_nothing_behind(engine: sa.Engine, settings_with: SettingsWith) -> None:
    settings = settings_with()
    Answerer(engine, settings, main=True).beat()
    with pytest.raises(StoppedError):
        asking.embed(engine, text_model(None, settings), TEXTS, stopped=lambda: rows(engine) == 1)
    assert rows(engine) == 0


def test_an_error_of_the_answerer_is_one_of_the_caller(
    engine: sa.Engine, settings_with: SettingsWith
) -> None:
    """The caller knows a folder that the worker does not, as when their settings differ."""
    settings = settings_with()
    model = text_model(None, settings)
    Answerer(engine, settings, main=True).beat()
    with ThreadPoolExecutor(1) as caller:
        found = caller.submit(asking.embed, engine, model, TEXTS)
        while not rows(engine):
            time.sleep(0.01)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE embedding.requests SET error = 'The worker failed.'"))
        with pytest.raises(EmbeddingUnavailableError, match=r"The worker failed\."):
            found.result()


def test_a_question_gets_its_vector_without_a_model_in_the_process(
    engine: sa.Engine, settings_with: SettingsWith
) -> None:
    settings = settings_with()
    nobody = asyncio.run(_asked(engine, settings))
    assert nobody is None
    with answering_now(Answerer(engine, settings, main=False)):
        while not _stands_in(engine):
            time.sleep(0.01)
        found = asyncio.run(_asked(engine, settings))
    assert found is not None
    assert found.model_id == "all-MiniLM-L6-v2@0.1.0"
    vector = np.array(found.vector.strip("[]").split(","), dtype=np.float32)
    np.testing.assert_allclose(vector, text_model(None, settings).encode_question("bread?"), atol=1e-6)
    assert rows(engine) == 0


async def _asked(engine: sa.Engine, settings: Settings) -> asking.Question | None:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    notifications = Notifications(conninfo=url, channels=(asking.ANSWERS,))
    await notifications.start()
    try:
        return await asking.ask_question(
            in_thread(engine), settings, None, "bread?", hears=notifications.subscribe
        )
    finally:
        await notifications.stop()


def _stands_in(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return asking.lives(connection, any_at_all=True)
