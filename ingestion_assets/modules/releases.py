"""What drupal.org says of a project's releases: its release-history XML, read safely. Pure; no network, no entities.

The format: https://www.drupal.org/drupalorg/docs/apis/update-status-xml.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from ingestion_assets.modules.versions import MAX_LENGTH

MAX_BYTES = 32 * 2**20
MAX_DEPTH = 32
SECURITY_UPDATE, INSECURE, UNSUPPORTED = "Security update", "Insecure", "Unsupported"


class ReleaseHistoryError(ValueError):
    """The text is no release history: not well-formed, with a document type, or of another shape."""


class UnknownProjectError(ReleaseHistoryError):
    """The feed has no release history of the project; it says so with an `<error>` (and status 200)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release as the feed tells it. `date` in seconds since 1970; `types` are the terms of kind "Release type"."""

    version: str
    published: bool
    date: int | None = None
    types: tuple[str, ...] = ()
    link: str | None = None
    core_compatibility: str | None = None

    @property
    def is_security_update(self) -> bool:
        return SECURITY_UPDATE in self.types

    @property
    def is_insecure(self) -> bool:
        return INSECURE in self.types

    @property
    def is_unsupported(self) -> bool:
        return UNSUPPORTED in self.types


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHistory:
    """A project's releases, newest first as in the feed. `supported_branches` are prefixes of versions (`8.x-1.`, `10.2.`)."""

    project: str
    title: str = ""
    status: str = "published"
    link: str | None = None
    supported_branches: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()

    def supports(self, version: str) -> bool:
        """Whether `version` is on a supported branch."""
        return version.startswith(self.supported_branches) if self.supported_branches else False


def parse_history(xml: bytes) -> ReleaseHistory:
    """Read release-history XML. Raises `UnknownProjectError`, `ReleaseHistoryError`."""
    root = _read(xml)
    if root.name == "error":
        raise UnknownProjectError(root.text.strip() or "the feed has no release history of the project")
    project = root.child("short_name")
    if root.name != "project" or not project:
        raise ReleaseHistoryError("there is no <short_name> in it")
    branches = (part.strip() for part in (root.child("supported_branches") or "").split(","))
    listed = root.element("releases")
    return ReleaseHistory(
        project=project,
        title=root.child("title") or project,
        status=root.child("project_status") or "published",
        link=root.child("link"),
        supported_branches=tuple(branch for branch in branches if branch),
        releases=tuple(_releases(listed)) if listed else (),
    )


def _releases(listed: "_Element") -> Iterator[Release]:
    seen: set[str] = set()
    for one in listed.children:
        version = one.child("version")
        status = one.child("status")
        # Drupal core passes over releases without a version or with a status of another word (ProjectRelease::validateReleaseData).
        # What is longer than any version could be no key of an index either.
        if (
            one.name != "release"
            or not version
            or len(version) > MAX_LENGTH
            or status not in {"published", "unpublished"}
            or version in seen
        ):
            continue
        seen.add(version)
        date = one.child("date") or ""
        terms = one.element("terms")
        yield Release(
            version=version,
            published=status == "published",
            date=int(date) if date.isascii() and date.isdigit() and len(date) < 12 else None,
            types=tuple(
                value
                for term in (terms.children if terms else ())
                if term.child("name") == "Release type" and (value := term.child("value"))
            ),
            link=one.child("release_link"),
            core_compatibility=one.child("core_compatibility"),
        )


@dataclass(slots=True)
class _Element:
    name: str
    text: str = ""
    children: list["_Element"] = field(default_factory=list)

    def element(self, name: str) -> "_Element | None":
        return next((child for child in self.children if child.name == name), None)

    def child(self, name: str) -> str | None:
        found = self.element(name)
        return found.text.strip() or None if found is not None else None


def _read(xml: bytes) -> _Element:
    if len(xml) > MAX_BYTES:
        raise ReleaseHistoryError(f"it is larger than {MAX_BYTES} bytes")
    top = _Element("")
    path = [top]

    def refuse(*_: object) -> None:
        raise ReleaseHistoryError(
            "it has a document type; those are not read, for the entities they may define"
        )

    def start(name: str, _: dict[str, str]) -> None:
        if len(path) > MAX_DEPTH:
            raise ReleaseHistoryError(f"it is nested more than {MAX_DEPTH} levels deep")
        element = _Element(name)
        path[-1].children.append(element)
        path.append(element)

    def end(_: str) -> None:
        path.pop()

    def text(data: str) -> None:
        path[-1].text += data

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text
    parser.buffer_text = True
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise ReleaseHistoryError(f"it is not well-formed: {error}") from error
    except (LookupError, ValueError) as error:
        if isinstance(error, ReleaseHistoryError):
            raise
        raise ReleaseHistoryError(f"it cannot be read: {error}") from error
    return top.children[0]
