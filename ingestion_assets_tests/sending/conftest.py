"""Fixtures of the sending tests: a scriptable peer, and the command run in this process."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestion_assets.sending.cli import app
from ingestion_assets_tests.sending.peer import Peer


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of `send claude` gave."""

    status: int
    summary: dict[str, Any]
    errors: str


@pytest.fixture
def corruption(shared_data: Path) -> Path:
    """Files with the corruptions that real transcripts were found with."""
    return shared_data / "conversations" / "corruption"


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as running:
        yield running


@pytest.fixture
def send(peer: Peer, tmp_path: Path) -> Callable[..., Run]:
    """Run `send claude` against the peer with a state file of this test."""

    def run(*arguments: str | Path) -> Run:
        result = CliRunner().invoke(
            app,
            [
                "claude", *map(str, arguments), "--url", peer.url, "--key", "k", "--json",
                "--state", str(tmp_path / "state.sqlite"),
            ],
        )  # fmt: skip
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Run(result.exit_code, json.loads(result.stdout) if result.stdout else {}, result.stderr)

    return run


def lines_of(*files: Path) -> list[dict[str, Any]]:
    """The objects of well-formed files, read the plain way."""
    return [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line
    ]


def uuids(messages: list[dict[str, Any]]) -> list[str]:
    return [message["uuid"][-2:] for message in messages if "uuid" in message]
