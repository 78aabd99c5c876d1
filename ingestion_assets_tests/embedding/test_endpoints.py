"""Models behind endpoints: whole answers or an error, pauses that all processes keep, no secret and no text in what is said."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa

from ingestion_assets.embedding.endpoint_settings import WrongEndpointsError
from ingestion_assets.embedding.errors import (
    EmbeddingRejectedError,
    EmbeddingUnavailableError,
    StoppedError,
    UnknownModelError,
)
from ingestion_assets.embedding.models import available, probe, text_model
from ingestion_assets.settings import Settings
from ingestion_assets_tests.embedding.stub_endpoint import StubEndpoint, vector_of, whole

SettingsWith = Callable[..., Settings]
TEXTS = [f"text number {number}" for number in range(11)]


def test_vectors_come_in_the_order_of_the_texts_in_batches(
    endpoint: StubEndpoint, settings_with: SettingsWith
) -> None:
    model = text_model("stub-model", settings_with(endpoint))
    vectors = model.encode(TEXTS)
    wanted = np.array([vector_of(text, 8) for text in TEXTS])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)
    assert sorted(size for _, size in endpoint.requests) == [3, 4, 4]
    assert model.id.startswith("stub-model@127.0.0.1:")


def test_batches_keep_to_a_number_of_tokens(endpoint: StubEndpoint, settings_with: SettingsWith) -> None:
    model = text_model("stub-model", settings_with(endpoint, batch_tokens=30, batch_texts=100))
    model.encode(["a" * 14] * 5)
    assert sorted(size for _, size in endpoint.requests) == [1, 2, 2]


def test_dimensions_are_asked_for_and_stand_in_the_models_id(
    endpoint: StubEndpoint, settings_with: SettingsWith
) -> None:
    model = text_model("stub-model", settings_with(endpoint, dimensions=5))
    assert model.encode(TEXTS).shape == (11, 5)
    assert model.id.endswith(":5")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda body: (200, {}, whole(body["input"][1:], 8)), id="one too few"),
        pytest.param(lambda _body: (200, {}, {"error": {"message": "busy"}}), id="an error that is called 200"),
        pytest.param(lambda _body: (200, {}, b"<html>"), id="no JSON"),
        pytest.param(lambda body: (200, {}, {"data": whole(body["input"], 8)["data"][:-1] * 2}), id="one twice"),
        pytest.param(
            lambda body: (200, {}, {"data": [{"index": n, "embedding": [0.0] * 8} for n in range(len(body["input"]))]}),
            id="zeros",
        ),
        pytest.param(lambda _body: (503, {}, {}), id="503"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_whole_is_asked_for_again_and_then_an_error(
    endpoint: StubEndpoint, settings_with: SettingsWith, fault: Callable
) -> None:
    model = text_model("stub-model", settings_with(endpoint))
    endpoint.faults.append(fault)
    assert model.encode(TEXTS[:2]).shape == (2, 8)
    assert len(endpoint.requests) == 2
    endpoint.faults.extend([fault] * 20)
    with pytest.raises(EmbeddingUnavailableError) as failed:
        model.encode_question(TEXTS[0])
    assert endpoint.key not in str(failed.value)
    assert TEXTS[0] not in str(failed.value)


def test_every_process_keeps_the_pause_that_a_server_asks_for(
    endpoint: StubEndpoint, engine: sa.Engine, settings_with: SettingsWith
) -> None:
    settings = settings_with(endpoint)
    endpoint.faults.append(lambda _body: (429, {"Retry-After": "2"}, {}))
    first = threading.Thread(target=text_model("stub-model", settings).encode, args=(TEXTS[:1],))
    first.start()
    while not _paused(engine):
        time.sleep(0.01)
    text_model("stub-model", settings).encode(
        TEXTS[1:2]
    )  # another model object: it knows of it by the table alone
    first.join()
    asked = [at for at, _ in endpoint.requests]
    assert len(asked) == 3
    assert asked[1] - asked[0] >= 1.9
    assert asked[2] - asked[0] >= 1.9


def _paused(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text("SELECT count(*) FROM embedding.endpoints")))


def test_a_refused_text_is_named_without_its_content(
    endpoint: StubEndpoint, settings_with: SettingsWith
) -> None:
    endpoint.most_characters = 100
    model = text_model("stub-model", settings_with(endpoint))
    with pytest.raises(EmbeddingRejectedError, match=r"text 3 of 4 \(200 characters\).*400") as refused:
        model.encode(["a", "b", "s" * 200, "d"])
    assert "sss" not in str(refused.value)
    assert endpoint.seen["d"] == 0 or endpoint.seen["d"] == 1


def test_a_wrong_key_is_not_tried_again(endpoint: StubEndpoint, settings_with: SettingsWith) -> None:
    settings = settings_with(endpoint)
    endpoint.key = "another"
    with pytest.raises(EmbeddingUnavailableError, match="401"):
        text_model("stub-model", settings).encode(TEXTS)
    assert len(endpoint.requests) <= 4


def test_a_stop_ends_a_request_that_hangs(endpoint: StubEndpoint, settings_with: SettingsWith) -> None:
    hangs = threading.Event()

    def hang(_body: object) -> None:
        hangs.set()
        threading.Event().wait(30)

    endpoint.faults.append(hang)
    began = time.monotonic()
    with pytest.raises(StoppedError):
        text_model("stub-model", settings_with(endpoint)).encode(TEXTS[:1], stopped=hangs.is_set)
    assert time.monotonic() - began < 5


def test_a_model_is_probed_once_a_minute_and_an_unknown_one_is_told_what_there_is(
    endpoint: StubEndpoint, settings_with: SettingsWith
) -> None:
    settings = settings_with(endpoint)
    probe("stub-model", settings)
    probe("stub-model", settings)
    assert len(endpoint.requests) == 1
    with pytest.raises(UnknownModelError, match=r"'other'.*all-MiniLM-L6-v2, stub-model"):
        probe("other", settings)
    assert available(settings) == ["all-MiniLM-L6-v2", "stub-model"]


def test_a_model_that_cannot_be_reached_fails_its_probe(
    endpoint: StubEndpoint, settings_with: SettingsWith
) -> None:
    settings = settings_with(endpoint, url="http://127.0.0.1:9/v1")
    with pytest.raises(EmbeddingUnavailableError, match=r"ConnectError.*To be had: all-MiniLM-L6-v2"):
        probe("stub-model", settings)


def test_a_wrong_setting_is_told_without_the_key(settings_with: SettingsWith, endpoint: StubEndpoint) -> None:
    with pytest.raises(WrongEndpointsError, match=r"0\.url") as wrong:
        text_model("stub-model", settings_with(endpoint, url="ftp://example.com"))
    assert endpoint.key not in str(wrong.value)
