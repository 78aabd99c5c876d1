"""The OpenAPI document of the entities endpoints against a front door whose runs really load.

`INGESTION_LONG_TESTS=1` runs at least 2,000 cases.
"""

import pytest
from hypothesis import strategies as st

from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.frontdoor.documented import assert_documented
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


def test_what_a_load_says_of_errors_is_as_documented(loading: Front) -> None:
    with loading.client() as client:
        client.headers["Content-Type"] = "text/plain"
        for path in ("/ingest/batch", "/api/v1/entities/ingest/batch"):
            some = client.post(path, content="\n".join(LINES))
            none = client.post(path, content="\n".join(LINES[4:6]))
            refused = client.post(path, content="\n".join(LINES), params={"atomic": True})
            assert (some.status_code, none.status_code) == (207, 400)
            for answer in (some, none, refused):
                assert_documented(answer)
        for line in LINES[:-1]:
            assert_documented(client.post("/ingest/message", content=line))
