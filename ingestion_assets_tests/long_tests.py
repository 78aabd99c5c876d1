"""Whether the long forms of tests are asked for: more rounds, larger inputs, more made-up examples."""

import os

LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"


def examples(many: int) -> int:
    """So many made-up examples; in the short form a quarter of them, for tests whose examples cost tens of milliseconds each."""
    return many if LONG else max(1, many // 4)
