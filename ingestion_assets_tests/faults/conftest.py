"""The one stack that the tests of faults hurt, with a landing storage that can be filled."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingestion_assets_tests.faults.campaign import Campaign, campaign
from ingestion_assets_tests.faults.full_disk import full, small_landing

SEED = 20260301


@dataclass(frozen=True, slots=True, kw_only=True)
class Cramped:
    """A campaign whose landing storage can be filled."""

    campaign: Campaign
    landing: Path
    mounted: bool

    def fill(self) -> AbstractContextManager[None]:
        """No room within the block."""
        return full(
            self.landing, mounted=self.mounted, writer=lambda: self.campaign.stack.pid_of("frontdoor")
        )


@pytest.fixture(scope="package")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cramped]:
    """A stack of its own: it is killed as a whole too."""
    home = tmp_path_factory.mktemp("cramped") / "home"
    with small_landing(home) as mounted, campaign(home, seed=SEED) as running:
        yield Cramped(campaign=running, landing=home / "landing", mounted=mounted)
