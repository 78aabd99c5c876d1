"""Versions: every real one is read, ordered as Drupal orders them, and nothing else passes for one."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.modules.versions import Version, VersionError, is_version, parse

ASCENDING = [
    "dev-feature/x", "dev-main", "8.x-1.x-dev", "8.x-1.0-dev", "8.x-1.0-unstable1", "8.x-1.0-alpha1",
    "8.x-1.0-alpha1+3-dev", "8.x-1.0-alpha2", "8.x-1.0-alpha10", "8.x-1.0-beta1", "8.x-1.0-rc3", "8.x-1.0-rc10",
    "8.x-1.0", "8.x-1.0+2-dev", "8.x-1.1", "8.x-1.9", "8.x-1.10", "2.x-dev", "2.0.x-dev", "2.0.0-beta9",
    "2.0.0-beta10", "2.0.0-beta.11", "2.0.0-rc1-dev", "2.0.0-rc.1", "2.0.0-rc.1.1", "2.0.0-RC.10", "2.0.0", "8.x-2.0",
    "2.0.0-p1", "2.0.0-pl.2", "2.0.1", "6.17.8.2", "6.17.8.10", "10.1.9", "10.2.x-dev", "10.2.0-dev", "10.2.0",
]  # fmt: skip


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[str]:
    lines = (shared_data / "modules" / "versions.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return sorted({line.split("\t")[1] for line in lines} - {"\\N"})


def test_every_real_version_is_read(real: list[str]) -> None:
    assert len(real) > 900
    assert [text for text in real if not is_version(text)] == []
    for version in map(parse, real):
        assert version.text and version.semantic and version.branch
        if version.numbers:
            assert parse(version.semantic).meaning()[1:] == version.meaning()[1:], version


def test_the_order_is_drupals() -> None:
    assert sorted(set(ASCENDING), key=parse) == ASCENDING
    assert parse("2.99.99") < parse("3.x-dev") < parse("3.0.0-alpha1")


@pytest.mark.parametrize(
    ("text", "semantic", "branch", "stability"),
    [
        ("8.x-2.0", "2.0.0", "8.x-2.x", "stable"),
        ("8.x-1.0-rc3", "1.0.0-rc3", "8.x-1.x", "rc"),
        ("8.x-3.x-dev", "3.x-dev", "8.x-3.x", "dev"),
        ("8.x-5.x", "5.x-dev", "8.x-5.x", "dev"),
        ("10.2.x-dev", "10.2.x-dev", "10.2.x", "dev"),
        ("3.x-dev", "3.x-dev", "3.x", "dev"),
        ("dev-2.0.x", "2.0.x-dev", "2.0.x", "dev"),
        ("dev-main", "dev-main", "main", "dev"),
        ("dev-cd/183-drupal-behaviors-reusable", "dev-cd/183-drupal-behaviors-reusable",
         "cd/183-drupal-behaviors-reusable", "dev"),
        ("2.0.4+1-dev", "2.0.4+1-dev", "2.0.x", "stable"),
        ("5.0-alpha1", "5.0.0-alpha1", "5.x", "alpha"),
        ("7.98", "7.98.0", "7.x", "stable"),
        ("v1.2.3-BETA2", "1.2.3-beta2", "1.2.x", "beta"),
        ("1.0.0-alpha.1", "1.0.0-alpha1", "1.0.x", "alpha"),
        ("8.x-1.0-beta.10", "1.0.0-beta10", "8.x-1.x", "beta"),
        ("V1.2", "1.2.0", "1.x", "stable"),
        ("3.1RC2", "3.1.0-rc2", "3.x", "rc"),
        ("1.0.0_a-4", "1.0.0-alpha4", "1.0.x", "alpha"),
        ("1.0.0-patch", "1.0.0-patch", "1.0.x", "patch"),
        ("1.0.0-stable", "1.0.0", "1.0.x", "stable"),
        ("1.0.0-b3-dev", "1.0.0-beta3-dev", "1.0.x", "beta"),
        ("1.2.3+build.5", "1.2.3+build.5", "1.2.x", "stable"),
        ("1.0.0-betatest3", "1.0.0-betatest3", "1.0.x", "other"),
        ("6.17.8.2", "6.17.8.2", "6.17.x", "stable"),
        ("1", "1.0.0", "1.x", "stable"),
    ],
)  # fmt: skip
def test_what_a_version_says(text: str, semantic: str, branch: str, stability: str) -> None:
    version = parse(text)
    assert (version.semantic, version.branch, version.stability) == (semantic, branch, stability)


@pytest.mark.parametrize(
    "text",
    ["", " ", "VERSION", "*", "1.*", "latest", "8.x-", "8.x-1", "1.0 beta", "1..0", ".1", "1.", "-1", "8.y.x-unstable",
     "x.x-dev", "1.0\n", "1.0-", "1.0+", "dev-", "dev-a b", "1.x-rc1", "1.0-beta-foo", "1.0-rc1-", "1.xRC1", "1.0--beta1", "99999999999.0", "<b>1.0</b>", "1.0.0.0.0", "\uff11.0"],
)  # fmt: skip
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(VersionError):
        parse(text)


numbers = st.integers(0, 30).map(str)
endings = st.sampled_from(
    [
        "",
        "-dev",
        "-alpha1",
        "-alpha10",
        "-beta2",
        "-rc1",
        "+3-dev",
        "-rc1+2-dev",
        "-p1",
        "-custom",
        "+b.7",
        "-beta.10",
        "RC.2",
        "-rc1-dev",
    ]
)
versions = st.one_of(
    st.builds("{}{}".format, st.lists(numbers, min_size=2, max_size=4).map(".".join), endings),
    st.builds("8.x-{}.{}{}".format, numbers, numbers, endings),
    st.builds("{}.x-dev".format, st.lists(numbers, min_size=1, max_size=3).map(".".join)),
    st.builds("8.x-{}.x-dev".format, numbers),
    st.builds("dev-{}".format, st.text("abc/-1.x", min_size=1, max_size=6)),
).map(parse)


@given(versions, versions, versions)
def test_the_order_is_total(a: Version, b: Version, c: Version) -> None:
    assert (a < b) + (b < a) + (a == b) == 1
    if a < b < c:
        assert a < c
    assert (a == b) == (a.text == b.text)


@pytest.mark.parametrize(
    "spellings",
    [("2.0.0-beta.10", "2.0.0-beta10", "v2.0-b10", "2.0.0BETA-10"), ("1.2.3", "1.2.3+build.5", "1.2.3-stable", "v1.2.3.0"),
     ("1.0-rc.2", "1.0.0RC2", "1.0.0_rc2"), ("1.0-p1", "1.0-pl1", "1.0.0-patch.1"), ("1.0-rc1-dev", "1.0.0-RC.1.dev")],
)  # fmt: skip
def test_what_composer_takes_for_the_same_means_the_same(spellings: tuple[str, ...]) -> None:
    assert len({parse(text).meaning() for text in spellings}) == 1
    assert not parse("1.2.3+build.5").is_dev
    assert parse("1.0-rc1-dev").is_dev


def test_real_versions_sort_the_same_from_any_start(real: list[str]) -> None:
    ordered = sorted(map(parse, real))
    assert sorted(map(parse, reversed(real))) == ordered
    assert all(older < newer for older, newer in pairwise(ordered))
