"""What is installed: it has to run on every Python that the project says it runs on."""

import tomllib
from importlib.metadata import distributions

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ingestion_assets_tests.conftest import PROJECT


def test_pinned_versions_run_on_the_oldest_python() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = f"{project['requires-python'].removeprefix('>=')}.0"
    pinned = {
        canonicalize_name(Requirement(line).name)
        for line in (PROJECT / "constraints.txt").read_text().split()
    }
    too_new = [
        f"{found.name} {found.version} needs Python {needed}"
        for found in distributions()
        if canonicalize_name(found.name) in pinned
        and (needed := found.metadata.get("Requires-Python"))
        and not SpecifierSet(needed).contains(oldest)
    ]
    assert not too_new
