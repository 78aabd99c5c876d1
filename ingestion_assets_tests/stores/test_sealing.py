"""Sealed secrets: opened with the same key only, and the server's key is made once whoever asks first."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import Sealer, SealError, sealer


def test_only_the_same_key_opens() -> None:
    sealed = Sealer("one").seal("secret")
    assert "secret" not in sealed
    assert sealed != Sealer("one").seal("secret")
    assert Sealer("one").open(sealed) == "secret"
    for wrong in (sealed[:-4] + "AAA=", "secret", ""):
        with pytest.raises(SealError):
            Sealer("one").open(wrong)
    with pytest.raises(SealError, match="INGESTION_SECRET_KEYS"):
        Sealer("two").open(sealed)


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path / "home")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: sealer(settings).seal("x"), range(8)))
    assert [sealer(settings).open(one) for one in made] == ["x"] * 8
    assert [path.name for path in settings.home.iterdir()] == ["secret_key"]
    assert (settings.home / "secret_key").stat().st_mode & 0o777 == 0o600
    given = Settings(_env_file=None, home=tmp_path / "other", secret_keys="given")
    assert Sealer("given").open(sealer(given).seal("y")) == "y"
    assert not given.home.exists()
