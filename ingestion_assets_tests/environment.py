"""Environment variables of this process for a test, and the settings that they make."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ingestion_assets.installed_flows import installed
from ingestion_assets.settings import load_settings, read_flow_settings
from ingestion_assets.stores import postgres

BEHIND_A_PROXY = {
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
    "NO_PROXY": None,
    "no_proxy": None,
}
"""One that nobody is at; of two spellings the small one counts."""


@contextmanager
def environment(**variables: object) -> Iterator[None]:
    """These variables, none of them where the value is None, and what is remembered of settings read anew; before and after."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.delenv(name, raising=False) if value is None else patch.setenv(name, str(value))
            read_settings_anew()
            yield
    finally:
        read_settings_anew()


def read_settings_anew() -> None:
    """Forget what was read. The settings at once for good: a front door's thread may have begun to read them before, and remember those."""
    while True:
        load_settings.cache_clear()
        load_settings()
        if load_settings() == load_settings.__wrapped__():
            break
    for read in (read_flow_settings, installed, postgres.engine):
        read.cache_clear()
