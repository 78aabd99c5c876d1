"""What a process that executes runs has come to hold: what is loaded to stay is no growth."""

from ingestion_assets.orchestration.memory_watch import GROWTH, loading_to_stay

MB = 2**20


def test_what_is_loaded_to_stay_is_no_growth() -> None:
    GROWTH.begin()
    with loading_to_stay():
        model = bytes(range(256)) * (64 * MB // 256)
    loaded_kb = GROWTH.kb()
    left_over = bytes(range(256)) * (64 * MB // 256)
    assert loaded_kb < 32 * 1024 < GROWTH.kb() - loaded_kb
    assert len(model) == len(left_over)
