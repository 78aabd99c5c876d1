"""The flow's part of the OpenAPI document against the server: generated requests give no answer that is not documented."""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.documents.job_front import USER, JobsFront, jobs_front, text_files
from ingestion_assets_tests.frontdoor.generated import MODES, try_operations


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    with jobs_front(
        postgres_url, tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    ) as running:
        yield running


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_documented(front: JobsFront, mode: str) -> None:
    one = front.connect(text_files(front.root / f"files {mode}", 2))
    known = {"user_id": USER, "job_id": front.create(one), "connection_id": one}
    answers = try_operations(front.url, paths=("/batch",), mode=mode, known=known)
    assert len({answer.rpartition(" ")[0] for answer in answers}) >= 10 or mode == "invalid", answers
    assert any(answer.endswith(" 200") for answer in answers) or mode == "invalid", answers
