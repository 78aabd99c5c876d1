"""The front door as it is, except that its wake starts no runs: what is measured is accepting alone."""

from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.server import serve
from ingestion_assets.settings import load_settings


def never(_: Dispatch) -> None:
    """Leave the payloads where they are."""


if __name__ == "__main__":
    serve(load_settings(), launch=never)
