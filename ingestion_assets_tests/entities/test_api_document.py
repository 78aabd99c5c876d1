"""The OpenAPI document of the entities endpoints against a front door whose runs really load.

`INGESTION_LONG_TESTS=1` runs at least 2,000 cases.
"""

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from ingestion_assets.entities.work import EntitiesWork
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.drops import DropOutcome
from ingestion_assets.landing.storage import open_storage
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.frontdoor.generated import LONG, MODES, try_operations

OURS = ("/ingest/", "/stats", "/api/v1/entities/")
STREAM = "known-stream"
LINES = (
    "C|1|name|street|3|12-345|7.10|BUILDING| ok",
    "P|1|thing|Maker|Brand#11|SMALL|7|JAR|1.00| fine ",
    "O|1|1|O|123.45|1996-01-02|5-LOW|Clerk|0|note",
    "O|2|999|O|123.45|1996-01-02|5-LOW|Clerk|0|refers to nobody",
    "O|x|1|O|12,5|1996-02-30|5-LOW|Clerk|0|wrong",
    "Q|1|no such entity",
    "# a comment",
)
BODIES = st.none() | st.lists(st.sampled_from(LINES), min_size=1, max_size=4).map("\n".join)
"""Messages, good and bad; or None, for what is made from the document alone."""


@pytest.fixture(scope="module")
def loading(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door whose runs load each payload at once."""
    chosen = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url)
    with serving(chosen) as front:

        def load(ref: DropRef) -> DropOutcome:
            work = EntitiesWork(
                claim=Claim("claim", "run", (), (ref,)), storage=open_storage(chosen), engine=front.engine,
                entities=lambda: TPCH, max_bytes=2**28, is_transient=lambda _: False,
            )  # fmt: skip
            return work.outcomes()[0]

        front.runs.outcome = load
        yield front


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_documented(loading: Front, mode: str) -> None:
    with loading.client() as client:
        begun = client.post(
            "/ingest/stream", params={"stream": STREAM, "more": True}, content=LINES[0],
            headers={"Content-Type": "text/plain", "Prefer": "respond-async"},
        )  # fmt: skip
    assert begun.status_code == 202, begun.text
    answers = try_operations(loading.url, paths=OURS, mode=mode, known={"stream": STREAM}, bodies=BODIES)
    if mode == "valid":
        assert len({answer.rpartition(" ")[0] for answer in answers}) == 10
        seen = {answer.rpartition(" ")[2] for answer in answers}
        assert seen >= (
            {"200", "207", "400"} if LONG else {"200", "400"}
        )  # in 8 cases a document decides which
