"""The real server process with runs that finish at once, for tests that kill, drain or measure it."""

import os

from ingestion_assets.server import serve
from ingestion_assets.settings import load_settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.frontdoor.instant_runs import InstantRuns

if __name__ == "__main__":
    settings = load_settings()
    runs = InstantRuns(engine=engine(settings.require("postgres_url")))
    if os.environ.get("INGESTION_TEST_NO_RUNS"):
        runs.pause()
    serve(settings, launch=runs)
