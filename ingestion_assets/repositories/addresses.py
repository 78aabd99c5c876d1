"""What may be named as a repository: hosts and folders of the configuration, one canonical name for every spelling."""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

LOCAL = "local"
MOST_BYTES = 1000
_CASE_INSENSITIVE = {"github.com", "gitlab.com", "bitbucket.org", "codeberg.org"}
_OWNER_AND_NAME = {"github.com", "bitbucket.org", "codeberg.org"}
_SEGMENT = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+-]{0,254}", re.ASCII)
_SCHEME = re.compile(r"https?:/{1,2}(?=[^/])", re.ASCII | re.IGNORECASE)
# git check-ref-format: what no part of a ref may hold.
_COMMIT = re.compile(r"[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?", re.ASCII)
_AS_IT_IS = "".join(set(string.printable) - set(string.whitespace) - {"%", "@"}) + " "
"""Of a folder's path in its repository's name: a ref begins at the first `@`."""
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(^|/)\.|\.(/|$)|\.lock(/|$)|^[-/]|^@$|/$")


class InvalidRepository(ValueError):  # noqa: N818 - the name other modules agreed on
    """Text that names no repository that may be taken; says why."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a host, with its port where it is not the scheme's; of the host `local`, a folder below a configured root,
    whose path is that of a URL.
    """

    host: str
    path: str
    scheme: str = "https"
    private: bool = False

    @property
    def name(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def url(self) -> str:
        return f"file:///{self.path}" if self.host == LOCAL else f"{self.scheme}://{self.host}/{self.path}"


def parse(
    text: str, hosts: Sequence[str], roots: Sequence[str], private_hosts: Sequence[str] = ()
) -> Repository:
    """The repository that a text names: `host/owner/name`, with or without scheme and `.git`; or a folder below one of `roots`.

    `hosts` must have public addresses, `private_hosts` (`name`, `name:port`, `http://name:port`) need not. The name of the answer is
    parsed to the same repository. Raises `InvalidRepository`.
    """
    if len(text) > MOST_BYTES:
        raise InvalidRepository("A repository's address has 1,000 characters at most.")
    local = _below_a_root(text, roots)
    if local is not None:
        return local
    if not text.isascii() or not text.isprintable():
        raise InvalidRepository("A repository's address has printable ASCII characters alone.")
    scheme = _SCHEME.match(text)
    host, _, path = text[scheme.end() if scheme else 0 :].partition("/")
    if "@" in host:
        raise InvalidRepository("A repository's address may hold no user name and no password.")
    name, scheme_of, private = _host(host.lower(), hosts, private_hosts)
    return Repository(name, _path(name, path), scheme_of, private)


def check_ref(text: str) -> str:
    """The name of a branch or tag, or the id of a commit, as git allows it. Raises `InvalidRepository`."""
    if not text or len(text.encode(errors="replace")) > 250 or _NO_REF.search(text):
        raise InvalidRepository(
            "A ref is the name of a branch or tag as git allows it, 250 bytes at most, and does not begin with a dash."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRepository("A ref is UTF-8.") from error
    return text.lower() if _COMMIT.fullmatch(text) else text


def named_host(text: str, hosts: Sequence[str], private_hosts: Sequence[str]) -> str:
    """The host that a text names, alone or in an address, as names of its repositories begin. Raises `InvalidRepository`."""
    scheme = _SCHEME.match(text)
    host = text[scheme.end() if scheme else 0 :].partition("/")[0]
    return _host(host.lower(), hosts, private_hosts)[0]


def _host(asked: str, hosts: Sequence[str], private_hosts: Sequence[str]) -> tuple[str, str, bool]:
    for private, listed in ((False, hosts), (True, private_hosts)):
        for one in listed:
            scheme, name = ("http", one[7:]) if one.startswith("http://") else ("https", one)
            name = name.removeprefix("https://").rstrip("/").lower()
            default = ":80" if scheme == "http" else ":443"
            if asked.removesuffix(default) == name.removesuffix(default):
                return name.removesuffix(default), scheme, private
    raise InvalidRepository(
        f"Repositories are taken from configured hosts only: {', '.join([*hosts, *private_hosts])}. INGESTION_REPOSITORIES_HOSTS sets them."
    )


def _path(host: str, text: str) -> str:
    text = text.rstrip("/")
    if host in _CASE_INSENSITIVE:
        text = text.lower()
    while text.endswith(".git"):
        text = text[:-4]
    segments = text.split("/")
    right = {2} if host in _OWNER_AND_NAME else range(2 if host in _CASE_INSENSITIVE else 1, 21)
    if len(segments) not in right:
        raise InvalidRepository(f"A repository of {host} is named {host}/owner/name, without more or less.")
    if not all(_SEGMENT.fullmatch(one) and one.strip(".") for one in segments):
        raise InvalidRepository(
            "The parts of a repository's name have letters, digits, `_`, `.`, `-` and `+` alone and begin with no dash."
        )
    return text


def _below_a_root(text: str, roots: Sequence[str]) -> Repository | None:
    """The repository in a folder below a root: by its path, `/srv/git/name`, with or without the first slash, or `local/srv/git/name`."""
    named = text.removeprefix(f"{LOCAL}/")
    path = (named if named == text else unquote(named, errors="surrogateescape")).strip("/")
    for root in roots:
        inside = root.strip("/") + "/"
        if not path.startswith(inside):
            continue
        path = inside + _path(LOCAL, path[len(inside) :])
        if not any(
            Path(f"/{path}{end}").resolve().is_relative_to(Path(root).resolve())
            and Path(f"/{path}{end}").is_dir()
            for end in (".git", "")
        ):
            raise InvalidRepository("There is no repository at that path below the configured roots.")
        return Repository(LOCAL, quote(path, safe=_AS_IT_IS, errors="surrogateescape"), "file", private=True)
    return None
