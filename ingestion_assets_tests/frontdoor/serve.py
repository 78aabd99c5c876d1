"""The real server process with runs that finish at once, for tests that kill, drain or measure it."""

from ingestion_assets.server import serve
from ingestion_assets.settings import load_settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.frontdoor.instant_runs import InstantRuns

if __name__ == "__main__":
    settings = load_settings()
    serve(settings, launch=InstantRuns(engine=engine(settings.require("postgres_url"))))
