"""What is to be said of an installed version, given its project's releases: up to date, not secure, revoked… Pure.

The status is the one that Drupal core's update module shows. Each rule and its source (`core/modules/update/src/UpdateCalculator.php`
in drupal/drupal, before it `update.compare.inc`; tests in `core/modules/update/tests`):

| status | when | source |
| --- | --- | --- |
| `not_secure` | the project is marked `insecure`, or the installed release has the type "Insecure" | `updateProjectStatus`: project status; first check of the existing release |
| `revoked` | the project is `unpublished` or `revoked`, or the installed release is unpublished | same places |
| `unsupported` | the project is `unsupported`; the installed version is on no supported branch; its release has the type "Unsupported" | same places; `isInSupportedBranch` (prefix match) |
| `update_available` | none of these, and it is neither the recommended nor the latest release of its target major version | the last `switch` |
| `up_to_date` | none of these, and it is one of them; for a development snapshot: it is not older (100 s of leeway) than the newest | the last `switch` |
| `unknown` | the feed was not read or does not know the project, has no usable release, the version is no version of drupal.org's or a plain git branch, or a development snapshot has no date | `not-fetched`, `UNKNOWN`, `NOT_CHECKED` |

Order of precedence among the marks of the installed release: insecure, then revoked, then unsupported. `security_updates` are the
published, supported, secure releases of type "Security update" that the feed lists before the installed one, up to the target major
version (`securityUpdates`); majors beyond it count only when the installed branch is unsupported, since a project that fixes only a
higher major has to stop supporting the lower one. For a development snapshot they are those dated 100 s or more after it. Of a site that
is up to date *and* on the recommended release no security releases are named, though one may lie beyond it (such as a release
candidate of the next minor): core computes them, and its page leaves them out unless
`status != CURRENT || existing_version !== recommended` (`Hook/UpdateThemeHooks::preprocessUpdateProjectStatus`, before it
`template_preprocess_update_project_status` in `update.report.inc`; expected by `securityUpdateAvailabilityProvider`: 8.1.2 with 8.2.0-rc2).

`needs_security_update` is the contract's question, which core answers on its page only by colours: the status is `not_secure` or
`unsupported`, or `security_updates` is not empty. It is None where the status is `unknown`.

Departures from core, on purpose, none of which concerns a version that the feed lists: a version written as Composer does (`1.6.0` for
`8.x-1.6`, `v2.0.0`) is taken for the one release it means; versions that core's `ExtensionVersion` calls invalid, hence unknown, are
read all the same where they have numbers (`v2.0.0`, `6.17.8.2`, `dev-2.0.x`, `2.0.4+1-dev`); for a version that is no release of the feed (built
on the site) core's scan meets no `break` and counts old security releases too: here only newer ones count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ingestion_assets.modules.releases import Release, ReleaseHistory
from ingestion_assets.modules.versions import Version, VersionError, parse

Status = Literal["up_to_date", "update_available", "unsupported", "revoked", "not_secure", "unknown"]

LEEWAY_S = 100
_PROJECT_MARKS: dict[str, Status] = {
    "insecure": "not_secure",
    "unpublished": "revoked",
    "revoked": "revoked",
    "unsupported": "unsupported",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The word on one installed version. `reason` says why in a sentence where the status alone does not."""

    status: Status
    recommended: str | None = None
    latest: str | None = None
    security_updates: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def needs_security_update(self) -> bool | None:
        if self.status == "unknown":
            return None
        return self.status in {"not_secure", "unsupported"} or bool(self.security_updates)


def advise(installed: str, history: ReleaseHistory | None, *, datestamp: int | None = None) -> Advice:
    """What to say of `installed`. `history` None: the feed has not answered for the project, or does not know it.

    `datestamp`: when a development snapshot was packaged, in seconds since 1970.
    """
    if history is None:
        return Advice(status="unknown", reason="No release history of the project is known.")
    marked = _PROJECT_MARKS.get(history.status)
    if marked is not None:
        return Advice(status=marked, reason=f"The project is marked {history.status}.")
    try:
        version = parse(installed)
    except VersionError as error:
        return Advice(status="unknown", reason=f"Invalid version: {error}.")
    if version.major is None:
        return Advice(status="unknown", reason="A plain git branch says nothing of what it contains.")
    if not history.releases:
        return Advice(status="unknown", reason="No available releases found.")
    return _Scan(history, _as_released(version, history), datestamp).advice()


def _as_released(version: Version, history: ReleaseHistory) -> Version:
    """The release of the feed that `version` means, if it is written there in another way; else `version`."""
    texts = {release.version for release in history.releases}
    if version.text in texts:
        return version
    same = [other for other in map(_parsed, texts) if other and other.meaning() == version.meaning()]
    if len(same) == 1:
        return same[0]
    spellings = (version.text, version.semantic, _in_older_numbering(version))
    return next((parse(text) for text in spellings if history.supports(text)), version)


def _in_older_numbering(version: Version) -> str:
    """`1.6.0-rc1`, as Composer has it, in drupal.org's older numbering: `8.x-1.6-rc1`."""
    if version.core or version.is_branch or len(version.numbers) != 3 or version.numbers[2]:
        return version.text
    _, dash, ending = version.text.partition("-")
    return f"8.x-{version.numbers[0]}.{version.numbers[1]}{dash}{ending}"


def _parsed(text: str) -> Version | None:
    try:
        return parse(text)
    except VersionError:
        return None


def _is_stub(release: Release, version: Version) -> bool:
    """Development releases without a date only stand there to be chosen in an issue queue."""
    return release.date is None and version.stage == "dev"


class _Scan:
    """One pass over the releases, newest first, as core makes it."""

    def __init__(self, history: ReleaseHistory, installed: Version, datestamp: int | None) -> None:
        self.history = history
        self.installed = installed
        self.datestamp = datestamp
        self.status: Status | None = None
        self.reason: str | None = None
        self.recommended: Release | None = None
        self.latest: Release | None = None
        self.snapshot: Release | None = None
        self.security: list[str] = []
        self.also: dict[int, str] = {}
        self._candidate: tuple[str, Release] | None = None
        self._last_is_supported = False
        self.target = self._target_major()

    def _target_major(self) -> int:
        major = self.installed.major or 0
        if self.history.supports(self.installed.text) or not self.history.supported_branches:
            return major
        self.status = "unsupported"
        self.reason = f"The branch {self.installed.branch} is not supported."
        supported = (
            _parsed(f"{branch}0") for branch in self.history.supported_branches if branch.endswith(".")
        )
        first = next((one.major for one in supported if one and one.major is not None), major)
        return max(major, first)

    def advice(self) -> Advice:
        for release in self.history.releases:
            version = _parsed(release.version)
            if version is None or version.major is None:
                continue
            if self._take(release, version):
                break
        if self.recommended is None and self.latest is not None and self._last_is_supported:
            self.recommended = self.latest
        status, reason = self._conclusion()
        if status == "up_to_date" and self.recommended and self.recommended.version == self.installed.text:
            self.security.clear()
        return Advice(
            status=status,
            recommended=self.recommended.version if self.recommended else None,
            latest=self.latest.version if self.latest else None,
            security_updates=tuple(self.security),
            also=tuple(self.also.values()),
            reason=reason,
        )

    def _take(self, release: Release, version: Version) -> bool:
        """Take one release into account; True once the installed one is reached."""
        is_installed = release.version == self.installed.text
        supported = self.history.supports(release.version) and not release.is_unsupported
        self._last_is_supported = supported
        if is_installed:
            self._judge(release, supported=supported)
        elif not (release.published and supported) or release.is_insecure or _is_stub(release, version):
            return False
        major = version.major or 0
        if major > self.target:
            self.also.setdefault(major, release.version)
            return False
        if major == self.target:
            self._propose(release, version, supported=supported)
        if is_installed:
            return True
        if release.is_security_update and self._is_newer(release, version):
            self.security.append(release.version)
        return False

    def _judge(self, release: Release, *, supported: bool) -> None:
        if release.is_insecure:
            self.status, self.reason = "not_secure", "The installed release is marked insecure."
        elif not release.published:
            self.status, self.reason = "revoked", "The installed release has been revoked."
        elif not supported:
            self.status = "unsupported"
            self.reason = "The installed release is no longer supported."

    def _propose(self, release: Release, version: Version, *, supported: bool) -> None:
        self.latest = self.latest or release
        is_snapshot = version.stage == "dev"
        if is_snapshot and self.snapshot is None:
            self.snapshot = release
        if self.recommended is not None or not supported:
            return
        has_ending = version.stage != "stable"
        without = release.version.split("-", 2 if version.core else 1)
        base = "-".join(without[:-1]) if has_ending and len(without) > 1 else release.version
        if self._candidate is None or self._candidate[0] != base:
            self._candidate = (base, release)
        if not has_ending:
            self.recommended = self._candidate[1]

    def _is_newer(self, release: Release, version: Version) -> bool:
        if self.installed.is_dev:
            if self.datestamp is None:
                return False
            return release.date is None or self.datestamp + LEEWAY_S <= release.date
        return self.installed.meaning() < version.meaning()  # pyright: ignore[reportOperatorIssue]

    def _conclusion(self) -> tuple[Status, str | None]:
        if self.status is not None:
            return self.status, self.reason
        if self.recommended is None:
            return "unknown", "No available releases found."
        if self.installed.is_dev:
            return self._conclusion_for_snapshot()
        current = {self.recommended.version, self.latest.version if self.latest else None}
        return ("up_to_date" if self.installed.text in current else "update_available"), None

    def _conclusion_for_snapshot(self) -> tuple[Status, str | None]:
        if self.datestamp is None:
            return "unknown", "The date of the development snapshot is not known."
        dates: Sequence[int] = [one.date for one in (self.snapshot, self.latest) if one and one.date]
        newest = max(dates, default=0)
        return ("up_to_date" if self.datestamp + LEEWAY_S > newest else "update_available"), None
