"""A project's code in a warm worker: as new as its files, and the last that could be loaded where they are broken."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster._core.origin import RepositoryPythonOrigin

from ingestion_assets.orchestration.dagster_internals import CodePointer, JobPythonOrigin
from ingestion_assets.orchestration.project_code import MOST, TooManyFilesError, stamp
from ingestion_assets.orchestration.warm_code import WarmCode
from ingestion_assets.own_modules import OwnModule

DEFINITIONS = """
import dagster as dg
from {package}.parts.words import WORD

@dg.op
def tell() -> str:
    from {package}.parts import late
    return WORD + late.WORD

@dg.job(executor_def=dg.in_process_executor)
def telling() -> None:
    tell()

@dg.job
def in_processes() -> None:
    tell()

defs = dg.Definitions(jobs=[telling, in_processes])
"""


class Project:
    def __init__(self, folder: Path, package: str) -> None:
        self.folder, self.package = folder, package
        (folder / package / "parts").mkdir(parents=True)
        for name in ("__init__.py", "parts/__init__.py"):
            self.write(name, "")
        self.write("definitions.py", DEFINITIONS.format(package=package))
        self.write("parts/words.py", "WORD = 'old'")
        self.write("parts/late.py", "WORD = '!'")
        self.code = WarmCode()

    def write(self, name: str, text: str) -> None:
        place = self.folder / self.package / name
        draft = place.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(place)

    def origin(self, job: str, module: str = "definitions") -> JobPythonOrigin:
        pointer = CodePointer.from_module(f"{self.package}.{module}", "defs", str(self.folder))
        return JobPythonOrigin(job, RepositoryPythonOrigin(sys.executable, pointer))

    def told(self, job: str = "telling", module: str = "definitions") -> object:
        definition = self.code.job(self.origin(job, module)).get_definition()
        return definition.execute_in_process().output_for_node("tell")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    path = list(sys.path)
    package = f"project_{tmp_path.name.replace('-', '_')}"
    yield Project(tmp_path, package)
    sys.path[:] = path
    for name in [one for one in sys.modules if one.partition(".")[0] == package]:
        del sys.modules[name]


@pytest.mark.parametrize("job", ["telling", "in_processes"])
def test_what_changed_is_loaded_before_the_next_run(project: Project, job: str) -> None:
    assert project.told(job) == "old!"
    kept = project.code.of(project.origin(job).repository_origin.code_pointer)
    assert project.code.of(project.origin(job).repository_origin.code_pointer) is kept
    project.write("parts/words.py", "WORD = 'new'")  # as long as before, within the same second
    assert project.told(job) == "new!"
    project.write("parts/late.py", "WORD = '?'")  # imported while a run goes on
    assert project.told(job) == "new?"


def test_a_new_module_is_found(project: Project) -> None:
    assert project.told() == "old!"
    project.write("parts/more.py", "WORD = 'more'")
    project.write("parts/words.py", f"from {project.package}.parts.more import WORD")
    assert project.told() == "more!"


def test_what_cannot_be_loaded_leaves_the_last_that_could(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    assert project.told() == "old!"
    project.write("parts/words.py", "WORD = ")
    assert project.told() == "old!"
    assert f"What changed in {project.folder} cannot be loaded" in caplog.text
    assert "SyntaxError" in caplog.text
    project.write("parts/words.py", "WORD = 'mended'")
    assert project.told() == "mended!"


@pytest.mark.parametrize("first", ["definitions", "others"])
def test_each_code_location_of_a_project_keeps_its_own_last(project: Project, first: str) -> None:
    project.write("others.py", DEFINITIONS.format(package=project.package))
    assert (project.told(), project.told(module="others")) == ("old!", "old!")
    project.write("parts/words.py", "WORD = 'new'")
    project.write("others.py", "defs = ")
    told = {module: project.told(module=module) for module in (first, "definitions", "others")}
    assert told == {"definitions": "new!", "others": "old!"}
    project.write("others.py", DEFINITIONS.format(package=project.package))
    assert (project.told(module="others"), project.told()) == ("new!", "new!")


def test_what_could_never_be_loaded_fails_its_runs(project: Project) -> None:
    project.write("parts/words.py", "WORD = ")
    with pytest.raises(SyntaxError):
        project.told()
    project.write("parts/words.py", "WORD = 'mended'")
    assert project.told() == "mended!"


def test_a_code_location_is_there_before_its_first_run(project: Project) -> None:
    own = [OwnModule("shop", f"{project.package}.definitions"), OwnModule("gone", "not_there.definitions")]
    project.code.preload("ingestion_assets.definitions", own=own, project=project.folder)
    assert f"{project.package}.definitions" in sys.modules
    loaded = sys.modules[f"{project.package}.definitions"]
    assert project.told() == "old!"
    assert sys.modules[f"{project.package}.definitions"] is loaded


def test_only_files_of_the_project_count(tmp_path: Path) -> None:
    for apart, mark in (
        (".git", ""),
        ("node_modules", ""),
        ("env", "pyvenv.cfg"),
        ("state", "supervisord.conf"),
    ):
        (tmp_path / apart / "deep").mkdir(parents=True)
        (tmp_path / apart / "deep" / "a.py").touch()
        if mark:
            (tmp_path / apart / mark).touch()
    (tmp_path / "data.csv").touch()
    assert stamp(tmp_path) == frozenset()
    for name in ("a.py", "b.yaml", "c.yml", "d.toml", "e.json"):
        before = stamp(tmp_path)
        (tmp_path / name).touch()
        assert stamp(tmp_path) != before
        touched = stamp(tmp_path)
        os.utime(tmp_path / name, ns=(1, 1))
        assert stamp(tmp_path) != touched


def test_a_folder_of_too_many_files_is_not_looked_through(tmp_path: Path) -> None:
    for number in range(MOST // 200 + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in range(200):
            os.mknod(folder / f"{name}.json")
    with pytest.raises(TooManyFilesError, match="holds more than"):
        stamp(tmp_path)
