"""`ingestion repos` against a front door."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from ingestion_assets.repositories.cli import app
from ingestion_assets.repositories.credentials import credential_for
from ingestion_assets.repositories.flow import Submission
from ingestion_assets.repositories.sample import make_sample
from ingestion_assets.settings import load_settings
from ingestion_assets_tests.environment import BEHIND_A_PROXY, environment
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front
from ingestion_assets_tests.repositories import made_up
from ingestion_assets_tests.repositories.made_up import vector

ONE = "github.com/example/one"


@pytest.fixture
def of_the_front(front: Front, tmp_path: Path) -> Iterator[Front]:
    """Commands of this process are for the front door's stack."""
    host, port = front.url.removeprefix("http://").split(":")
    with environment(
        INGESTION_HOME=tmp_path, INGESTION_ADMIN_TOKEN=ADMIN_TOKEN, INGESTION_HOST=host, INGESTION_PORT=port,
        INGESTION_POSTGRES_URL=front.settings.postgres_url,
    ):  # fmt: skip
        yield front


def run(*arguments: str, given: str | None = None) -> Result:
    """What a command says; the front door, which is of this process, may log in between."""
    return CliRunner().invoke(app, arguments, input=given, env={"COLUMNS": "200"})


def test_a_repository_from_submitting_to_deleting(of_the_front: Front) -> None:
    submitted = run("submit", "https://github.com/example/one.git")
    assert f"{ONE} is queued: job 1, place 1 of 1, target Offline.\n" in submitted.output
    assert "waits already" in run("submit", ONE).output
    assert run("status").output.endswith("Offline\n")
    files = {"a.py": "a", "b.py": "b", "[red]x[/red].bin": None, "\x1b[31m\n.bin": None}
    made_up.index(of_the_front.engine, ONE, files, {"a.py": vector(1), "b.py": vector(1, 2)})
    assert ONE in run("list").output
    skipped = run("files", ONE, "--state", "skipped").output
    assert "[red]x[/red].bin" in skipped  # no markup
    assert "\\x1b[31m\\n.bin" in skipped  # no escape sequences
    said = run("similar", ONE, "a.py", "--json").output.splitlines()
    (hit,) = (json.loads(line) for line in said if line.startswith("{"))
    assert (hit["path"], hit["repository"]) == ("b.py", ONE)
    assert f"{ONE} is watched.\n" in run("watch", ONE).output
    assert f"{ONE} is deleted.\n" in run("delete", ONE).output
    refused = run("files", ONE)
    assert (refused.exit_code, "no such repository" in refused.output) == (1, True)
    assert "cancelled" in run("history").output


@pytest.mark.usefixtures("of_the_front")
def test_a_proxy_that_the_environment_names_is_for_other_machines() -> None:
    with environment(**BEHIND_A_PROXY):
        assert run("status").output.endswith("Offline\n")


def test_lists_go_on_after_a_page(of_the_front: Front) -> None:
    many = "github.com/example/many"
    made_up.index(
        of_the_front.engine,
        many,
        {"a.py": "a"} | {f"{one:03}.bin": None for one in range(229)},
        {"a.py": vector(1)},
    )
    assert run("files", many, "--limit", "500").output.count(".bin") == 229
    some = run("files", many, "--limit", "120")
    assert some.output.count(".bin") == 120
    assert "more than these 120" in some.output
    assert "more than" not in run("files", many, "--limit", "230").output


def test_a_credential_is_kept_sealed(of_the_front: Front) -> None:
    def keep(host: str, credential: str) -> int:
        return run("credentials", "set", host, given=f"{credential}\n").exit_code

    with environment(INGESTION_REPOSITORIES_PRIVATE_HOSTS="git.example.com:8443"):
        assert keep("https://Git.example.com:8443/team/private", "user:not-for-others") == 0
        with of_the_front.engine.connect() as connection:
            kept = connection.scalar(sa.text("SELECT sealed FROM repositories.credentials"))
            opened = credential_for(connection, Submission("git.example.com:8443/a/b"), load_settings())
        assert "not-for-others" not in str(kept)
        assert opened == "user:not-for-others"
        assert keep("git.example.com", "user:token") == 2, "another port"
        assert keep("git.example.com:8443", "no-colon") == 2
    assert run("credentials", "delete", "git.example.com:8443").exit_code == 0
    assert "There was none" in run("credentials", "delete", "git.example.com:8443").output


def test_a_sample_that_was_broken_off_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "repositories" / "sample"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(subprocess.CalledProcessError):
        patch.setenv("GIT_OBJECT_DIRECTORY", "/proc/none")
        make_sample(folder)
    assert not list(folder.parent.iterdir())
    make_sample(folder)
    assert (folder / "HEAD").is_file()
