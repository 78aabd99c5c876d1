"""Versions as Drupal writes them: what they mean and how they are ordered. Pure; no I/O.

| written | means |
| --- | --- |
| `8.x-1.0-rc3` | release 1.0.0-rc3 for Drupal core 8, as contributed projects were numbered before semantic versions |
| `10.2.1`, `2.0.0-beta10`, `7.98`, `6.17.8.2` | a release by its numbers; Composer's leading `v` is taken off |
| `2.0.0-beta.10`, `2.0.0RC1`, `1.0_alpha-3`, `1.0-pl2`, `1.0-stable` | the same stages as Composer also reads them: `-beta10`, `-rc1`, `-alpha3`, `-patch2`, none |
| `2.0.0-rc1-dev` | on the way to a stage, so before it |
| `1.2.3+build.5` | the release; what stands behind the `+` says nothing of age, as in Composer |
| `8.x-3.x-dev`, `10.2.x-dev`, `3.x-dev`, `8.x-5.x`, `dev-2.0.x` | the development branch of these numbers |
| `2.0.4+1-dev`, `8.x-1.0-alpha1+3-dev` | so many commits after a release (drupal.org's packaging writes it into `.info.yml`) |
| `dev-main`, `dev-feature/x` | a plain git branch: it has no numbers, so it says nothing of age |

Order: by the numbers, then dev < unstable < alpha < beta < rc < stable < patch. That is PHP's `version_compare` and the order of
drupal.org's release history. A development branch comes before everything released from it (`3.x-dev` < `3.0-alpha1`); commits after
a release come after it and before the next one. Plain git branches come before all that has numbers. Versions that mean the same
(`8.x-2.0`, `2.0.0`, `v2.0.0`) stand next to each other, ordered by the core they are for and then by their text, so that the order
is total.
"""

import re
from dataclasses import dataclass
from functools import lru_cache, total_ordering
from typing import Literal

Stability = Literal["dev", "unstable", "alpha", "beta", "rc", "stable", "patch", "other"]

MAX_LENGTH = 255
_STAGES = {"other": 0, "dev": 1, "unstable": 2, "alpha": 3, "beta": 4, "rc": 5, "stable": 6, "patch": 7}
_ALIASES = {"a": "alpha", "b": "beta", "p": "patch", "pl": "patch"}
_BRANCH = -1

_NUMBERED = re.compile(
    r"""
    (?:(?P<core>[4-9]|[1-9][0-9])\.x-(?=[0-9]))?                # for which Drupal core, in the older numbering
    [vV]?(?P<numbers>[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}(?P<branch>\.x)?)
    (?:
        [._-]?(?P<stage>(?i:stable|unstable|alpha|beta|rc|patch|pl|[abp]))(?P<number>(?:[.-]?[0-9]{1,9}){0,4})(?P<before>[.-]?dev)?
        | -(?P<other>[A-Za-z][0-9A-Za-z.]*?)(?P<other_number>[0-9]{0,9})
    )?
    (?:\+(?:(?P<commits>[0-9]{1,9})-dev|(?P<build>[0-9A-Za-z.-]+)))?
    """,
    re.VERBOSE,
)
_DIGITS = re.compile(r"[0-9]+")
_GIT_BRANCH = re.compile(r"dev-(?P<name>[^\s~^:?*\[\\\x00-\x1f\x7f]{1,240})")
_NUMBERED_BRANCH = re.compile(r"dev-(?P<branch>(?:[4-9]\.x-)?[0-9]{1,9}(?:\.[0-9]{1,9}){0,2}\.x)")


class VersionError(ValueError):
    """The text is no version that Drupal uses."""


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One version. Compares and hashes by order: versions are equal only if their texts are.

    `core` is the Drupal core named in the version, `numbers` up to four numbers (empty for a plain git branch),
    `is_branch` whether they name a development branch, `commits` how many commits after the release (-1: on the way to it),
    `branch` the git branch that releases of its kind come from (`8.x-1.x`, `10.2.x`; the branch itself for a branch).
    """

    text: str
    core: int | None
    numbers: tuple[int, ...]
    is_branch: bool
    stability: Stability
    stage: str
    stage_number: tuple[int, ...]
    commits: int
    build: str
    branch: str

    @property
    def major(self) -> int | None:
        """The first number, None for a plain git branch."""
        return self.numbers[0] if self.numbers else None

    @property
    def is_dev(self) -> bool:
        """Whether it is a development snapshot: a branch, `-dev`, or commits after a release."""
        return self.stage == "dev" or self.is_branch or self.commits != 0 or not self.numbers

    @property
    def semantic(self) -> str:
        """The version in semantic form, where it has one: `8.x-1.0-rc3` is `1.0.0-rc3`, `8.x-3.x-dev` is `3.x-dev`."""
        if not self.numbers:
            return self.text
        written = ".".join(map(str, self.numbers))
        if self.is_branch:
            return f"{written}.x-dev"
        written += ".0" * (3 - len(self.numbers))
        if self.stage != "stable":
            written += f"-{self.stage}{'.'.join(map(str, self.stage_number))}"
        if self.commits < 0:
            written += "-dev"
        elif self.commits:
            return f"{written}+{self.commits}-dev"
        return f"{written}+{self.build}" if self.build else written

    def meaning(self) -> tuple[object, ...]:
        """What orders it, without what merely writes it differently: equal for `8.x-2.0` and `2.0.0`."""
        tail = (_BRANCH,) if self.is_branch else ()
        padded = (*self.numbers, *tail, *((_BRANCH if self.is_branch else 0,) * 4))[:4]
        rank = _STAGES[self.stability]
        named = self.stage if self.stability == "other" else ""
        return (bool(self.numbers), padded, rank, named, self.stage_number, self.commits)

    def _order(self) -> tuple[object, ...]:
        return (*self.meaning(), self.core or 0, self.text)

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Version) else NotImplemented

    def __lt__(self, other: "Version") -> bool:
        return self._order() < other._order()  # pyright: ignore[reportOperatorIssue]  # same shape by construction

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=16384)
def parse(text: str) -> Version:
    """The version that `text` writes. Raises `VersionError` with the reason."""
    if not text or len(text) > MAX_LENGTH:
        raise VersionError(f"a version has 1 to {MAX_LENGTH} characters")
    if text.startswith("dev-"):
        return _git_branch(text)
    match = _NUMBERED.fullmatch(text)
    if match is None:
        raise VersionError(
            f"{text[:60]!r} is no version Drupal uses, such as 8.x-1.0-rc3, 10.2.1 or 2.0.x-dev"
        )
    return _numbered(text, match)


def is_version(text: str) -> bool:
    """Whether `text` names a version."""
    try:
        parse(text)
    except VersionError:
        return False
    return True


def _git_branch(text: str) -> Version:
    numbered = _NUMBERED_BRANCH.fullmatch(text)
    if numbered is not None:
        inner = parse(f"{numbered['branch']}-dev")
        return Version(text, inner.core, inner.numbers, True, "dev", "dev", (), 0, "", branch=inner.branch)
    match = _GIT_BRANCH.fullmatch(text)
    if match is None:
        raise VersionError(f"{text[:60]!r} names no git branch")
    return Version(text, None, (), True, "dev", "dev", (), 0, "", branch=match["name"])


def _numbered(text: str, match: re.Match[str]) -> Version:
    is_branch = match["branch"] is not None
    written = match["numbers"].removesuffix(".x")
    numbers = tuple(map(int, written.split(".")))
    stage = (match["stage"] or match["other"] or ("dev" if is_branch else "stable")).lower()
    stage = _ALIASES.get(stage, stage)
    number = match["number"] or match["other_number"] or ""
    if is_branch and (stage != "dev" or number or match["commits"] or match["build"]):
        raise VersionError(
            f"{text[:60]!r} is a branch with the ending of a release; a branch ends in .x or .x-dev"
        )
    if len(numbers) == 1 and not is_branch and match["core"]:
        raise VersionError(f"{text[:60]!r} lacks its second number, as in 8.x-1.0")
    core = int(match["core"]) if match["core"] else None
    prefix = f"{core}.x-" if core else ""
    return Version(
        text,
        core,
        numbers,
        is_branch,
        stability=stage if stage in _STAGES else "other",  # pyright: ignore[reportArgumentType]  # keys are Stability
        stage=stage,
        stage_number=tuple(map(int, _DIGITS.findall(number))),
        commits=-1 if match["before"] else int(match["commits"] or 0),
        build=match["build"] or "",
        branch=prefix + _branch_of(written, numbers, is_branch=is_branch, has_core=core is not None),
    )


def _branch_of(written: str, numbers: tuple[int, ...], *, is_branch: bool, has_core: bool) -> str:
    if is_branch:
        return f"{written}.x"
    kept = 1 if has_core or len(numbers) < 3 else 2
    return ".".join(map(str, numbers[:kept])) + ".x"
