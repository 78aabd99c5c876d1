"""The status agrees with what Drupal core's update module says, by the expectations that its own tests publish.

Sources, all under `core/modules/update/tests/src` of drupal/drupal: `Functional/UpdateSemverTestSecurityAvailabilityTrait`,
`Functional/UpdateSemverTestBaselineTrait`, `Functional/UpdateSemverContribTestBase`, `Functional/UpdateContribTest`,
`Kernel/UpdateCalculateProjectDataTest`, `Kernel/DevReleaseTest`, `Functional/UpdateSemverCoreTest`. Where a fixture of theirs was not kept in the shared
folder, its cases are left out.
"""

from pathlib import Path

import pytest

from ingestion_assets.modules.advice import advise
from ingestion_assets.modules.releases import (
    ReleaseHistory,
    ReleaseHistoryError,
    UnknownProjectError,
    parse_history,
)

REQUIRED, AVAILABLE, NONE = "not_secure", "update_available", "up_to_date"
STAGES = ("-alpha1", "-beta1", "")
PRE_RELEASES = ("8.2.0-alpha1", "8.2.0-alpha2", "8.2.0-beta1", "8.2.0-beta2", "8.2.0-rc1", "8.2.0-rc2")

# UpdateSemverTestSecurityAvailabilityTrait::securityUpdateAvailabilityProvider: installed, fixture, status, security releases
SEMVER_SECURITY = [
    ("8.0.0", "sec.8.0.2", REQUIRED, ["8.0.2"]),
    ("8.0.2", "sec.8.2.0-rc2", AVAILABLE, ["8.1.2", "8.2.0-rc2"]),
    ("8.0.0", "sec.8.0.1_8.0.2", REQUIRED, ["8.0.2"]),
    ("8.1.0", "sec.8.1.2", REQUIRED, ["8.1.2"]),
    ("8.0.0", "sec.8.2.0-rc2", REQUIRED, ["8.0.2", "8.1.2", "8.2.0-rc2"]),
    ("8.1.2", "sec.8.2.0-rc2", NONE, []),
    ("8.0.0", "sec.8.1.2_insecure", REQUIRED, ["8.1.2"]),
    ("8.0.0", "sec.8.1.2_insecure-unsupported", REQUIRED, ["8.1.2"]),
    ("8.0.0", "sec.8.1.2", AVAILABLE, ["8.1.2"]),
    ("8.0.2", "sec.8.1.2", AVAILABLE, ["8.1.2"]),
    ("8.2.0-rc2", "sec.8.2.0-rc2", NONE, []),
    ("8.1.0", "sec.8.2.0-rc2", REQUIRED, ["8.1.2", "8.2.0-rc2"]),
    *((one, "sec.8.2.0-rc2-b", NONE if one == "8.2.0-rc2" else AVAILABLE, []) for one in PRE_RELEASES),
    *((one, "sec.8.2.0-rc2", REQUIRED, ["8.2.0-rc2"]) for one in PRE_RELEASES[:-1]),
]  # fmt: skip

# UpdateContribTest::securityUpdateAvailabilityProvider
CONTRIB_SECURITY = [
    ("8.x-1.0", "sec.8.x-1.2", REQUIRED, ["8.x-1.2"]),
    ("8.x-1.0", "sec.8.x-1.1_8.x-1.2", REQUIRED, ["8.x-1.2"]),
    ("8.x-2.0", "sec.8.x-2.2_1.x_secure", REQUIRED, ["8.x-2.2"]),
    ("8.x-2.2", "sec.8.x-1.2_8.x-2.2", NONE, []),
    ("8.x-1.0", "sec.8.x-1.2_8.x-2.2", REQUIRED, ["8.x-1.2"]),
    ("8.x-1.0", "sec.8.x-2.2_1.x_secure", AVAILABLE, []),
    ("8.x-1.2", "sec.8.x-1.2_8.x-2.2", NONE, []),
    ("8.x-2.0", "sec.8.x-1.2_8.x-2.2", REQUIRED, ["8.x-2.2"]),
]


@pytest.fixture(scope="module")
def fixtures(shared_data: Path) -> Path:
    return shared_data / "modules" / "release-history"


def history(fixtures: Path, project: str, fixture: str) -> ReleaseHistory:
    return parse_history((fixtures / f"{project}.{fixture}.xml").read_bytes())


def test_every_fixture_is_read_or_refused_for_its_reason(fixtures: Path) -> None:
    refused = {}
    for path in sorted(fixtures.glob("*.xml")):
        try:
            read = parse_history(path.read_bytes())
        except ReleaseHistoryError as error:
            refused[path.name] = type(error)
        else:
            assert read.project == path.name.partition(".")[0]
    assert refused == {
        "aaa_update_test.no-releases.xml": UnknownProjectError,
        "drupal.broken.xml": ReleaseHistoryError,
    }


@pytest.mark.parametrize("project", ["drupal", "semver_test"])
@pytest.mark.parametrize(("installed", "fixture", "status", "security"), SEMVER_SECURITY)
def test_security_updates_of_semantic_versions(
    fixtures: Path, project: str, installed: str, fixture: str, status: str, security: list[str]
) -> None:
    advice = advise(installed, history(fixtures, project, fixture))
    assert (advice.status, sorted(advice.security_updates)) == (status, security)


@pytest.mark.parametrize(("installed", "fixture", "status", "security"), CONTRIB_SECURITY)
def test_security_updates_in_the_older_numbering(
    fixtures: Path, installed: str, fixture: str, status: str, security: list[str]
) -> None:
    advice = advise(installed, history(fixtures, "aaa_update_test", fixture))
    assert (advice.status, list(advice.security_updates)) == (status, security)


@pytest.mark.parametrize("project", ["drupal", "semver_test"])
def test_no_updates_available(fixtures: Path, project: str) -> None:
    for version in (f"8.{minor}.{patch}{stage}" for minor in (0, 1) for patch in (0, 1) for stage in STAGES):
        advice = advise(version, history(fixtures, project, version))
        assert (advice.status, advice.security_updates) == ("up_to_date", ()), version


@pytest.mark.parametrize("project", ["drupal", "semver_test"])
def test_normal_update_available(fixtures: Path, project: str) -> None:
    for stage in STAGES:
        first = advise("8.0.0", history(fixtures, project, f"8.0.1{stage}"))
        second = advise("8.0.0", history(fixtures, project, f"8.1.1{stage}"))
        if stage:
            assert (first.status, first.latest) == ("up_to_date", f"8.0.1{stage}")
            assert (second.status, second.recommended, second.latest) == (
                "update_available", "8.1.0", f"8.1.1{stage}",
            )  # fmt: skip
        else:
            assert (first.status, first.recommended) == ("update_available", "8.0.1")
            assert (second.status, second.recommended) == ("update_available", "8.1.1")


@pytest.mark.parametrize("project", ["drupal", "semver_test"])
@pytest.mark.parametrize(
    "version", [f"8.{minor}.{patch}{stage}" for minor in (0, 1) for patch in (0, 1) for stage in STAGES]
)
def test_major_updates(fixtures: Path, project: str, version: str) -> None:
    only_nine = advise(version, history(fixtures, project, "9.0.0"))
    assert (only_nine.status, only_nine.recommended) == ("unsupported", "9.0.0")
    both = advise(version, history(fixtures, project, "8.0.0-9.0.0"))
    assert both.status == ("up_to_date" if version == "8.1.1" else "update_available")
    assert (both.recommended, both.also) == ("8.1.1", ("9.0.0",))
    next_is_unstable = advise(version, history(fixtures, project, "9.0.0-10.0.0"))
    assert (next_is_unstable.status, next_is_unstable.recommended) == ("unsupported", "9.2.2")
    assert "10.0.0-beta1" in next_is_unstable.also


@pytest.mark.parametrize("project", ["drupal", "semver_test"])
def test_revoked_and_unsupported_releases(fixtures: Path, project: str) -> None:
    for fixture in ("8.1.0", "8.1.0-unsupported"):
        revoked = advise("8.0.2", history(fixtures, project, fixture))
        assert (revoked.status, revoked.recommended) == ("revoked", "8.1.0")
        unsupported = advise("8.0.3", history(fixtures, project, fixture))
        assert (unsupported.status, unsupported.recommended) == ("unsupported", "8.1.0")
        assert unsupported.needs_security_update
    for version in ("8.1.0", "8.1.0-beta1"):
        advice = advise(version, history(fixtures, project, "1.1-unsupported"))
        assert (advice.status, advice.recommended) == ("unsupported", None)
    advice = advise("8.0.3", history(fixtures, project, "1.0-supported"))
    assert (advice.status, advice.recommended, advice.also) == ("unsupported", "8.1.0", ("10.0.0", "9.0.0"))


def test_revoked_and_unsupported_releases_in_the_older_numbering(fixtures: Path) -> None:
    supported = history(fixtures, "aaa_update_test", "1_0-supported")
    unsupported = history(fixtures, "aaa_update_test", "1_0-unsupported")
    for version, status in (("8.x-1.0", "revoked"), ("8.x-1.1", "unsupported")):
        assert (advise(version, supported).status, advise(version, supported).also) == (status, ("8.x-2.0",))
        assert (advise(version, unsupported).status, advise(version, unsupported).recommended) == (
            status,
            "8.x-2.0",
        )


@pytest.mark.parametrize(
    ("fixture", "status"),
    [("revoked.0.2", "revoked"), ("insecure.0.2", "not_secure"), ("unsupported.0.2", "unsupported")],
)
def test_projects_marked_as_a_whole(fixtures: Path, fixture: str, status: str) -> None:
    assert advise("8.0.1", history(fixtures, "drupal", f"project_status.{fixture}")).status == status


def test_contributed_updates_in_the_older_numbering(fixtures: Path) -> None:
    assert advise("8.x-1.0", history(fixtures, "aaa_update_test", "1_0")).status == "up_to_date"
    for stage in STAGES:
        one, two, next_major = (
            advise("8.x-1.0", history(fixtures, "aaa_update_test", f"{version}{stage}"))
            for version in ("1_1", "1_2", "2_0")
        )
        assert one.status == ("up_to_date" if stage else "update_available")
        assert two.status == "update_available"
        assert two.recommended == ("8.x-1.1" if stage else "8.x-1.2")
        assert (next_major.status, next_major.recommended) == ("update_available", "8.x-1.2")
        assert next_major.also == (f"8.x-2.0{stage}",)


def test_from_the_older_numbering_to_semantic_versions(fixtures: Path) -> None:
    for old in (7, 8):
        read = history(fixtures, "semver_test", "8.1.0" if old == 7 else "9.1.0")
        for version in (f"8.x-{old}.{minor}{stage}" for minor in (0, 1) for stage in STAGES):
            advice = advise(version, read)
            assert advice.also == (f"{old + 1}.1.0",)
            assert advice.status == ("up_to_date" if version == f"8.x-{old}.1" else "update_available")
            assert advice.recommended == f"8.x-{old}.1"
    unsupported = history(fixtures, "semver_test", "8.1.0-legacy-unsupported")
    assert advise("8.x-7.1", unsupported).recommended == "8.1.0"


def test_development_snapshots(fixtures: Path) -> None:
    read = history(fixtures, "drupal", "dev")
    assert advise("8.1.0-dev", read, datestamp=1_790_000_000).status == "up_to_date"
    assert advise("8.0.x-dev", read, datestamp=1_000_000_000).status == "update_available"
    assert advise("8.0.x-dev", read).status == "unknown"
    assert advise("8.1.x-dev", history(fixtures, "drupal", "dev-no-date")).status == "unknown"


def test_security_updates_of_a_development_snapshot(fixtures: Path) -> None:
    read = history(fixtures, "drupal", "sec.8.1.0-dev")
    advice = advise("8.1.0-dev", read, datestamp=1_280_424_641)
    assert (advice.status, advice.security_updates) == ("update_available", ("8.1.2",))
    undated = advise("8.1.0-dev", read)
    assert (undated.status, undated.security_updates) == ("unknown", ())


@pytest.mark.parametrize("installed", ["6.17.8.2", "v9.9.9", "dev-9.9.x", "8.x-9.9+1-dev"])
def test_versions_that_core_cannot_read_are_judged_by_their_branch(fixtures: Path, installed: str) -> None:
    advice = advise(installed, history(fixtures, "drupal", "8.0.0"))
    assert (advice.status, advice.needs_security_update) == ("unsupported", True)


@pytest.mark.parametrize("installed", ["llama", "", "dev-main"])
def test_versions_that_say_nothing_are_unknown(fixtures: Path, installed: str) -> None:
    advice = advise(installed, history(fixtures, "aaa_update_test", "1_0-supported"))
    assert (advice.status, advice.needs_security_update) == ("unknown", None)


def test_what_is_not_known_is_unknown() -> None:
    assert advise("1.0.0", None).status == "unknown"


@pytest.mark.parametrize("written", ["1.0.0", "v1.0.0"])
def test_composers_way_of_writing_means_the_same_release(fixtures: Path, written: str) -> None:
    read = history(fixtures, "aaa_update_test", "sec.8.x-1.2")
    assert advise(written, read) == advise("8.x-1.0", read)


def test_dangerous_xml_is_refused() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><project><short_name>&b;</short_name></project>'
    outside = b'<!DOCTYPE p SYSTEM "http://127.0.0.1:1/x"><project><short_name>a</short_name></project>'
    for xml in (bomb, outside, b"", b"<project>", b"<a>" * 100_000, b"\xff\xfe", b"not xml"):
        with pytest.raises(ReleaseHistoryError):
            parse_history(xml)
