"""What names a repository and what does not; spellings of one repository have one name."""

# ruff: noqa: RUF001, S104 - look-alikes and odd addresses are what is refused here

import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.repositories.addresses import InvalidRepository, check_ref, parse
from ingestion_assets.repositories.flow import Submission
from ingestion_assets.repositories.paths import restored, shown, stored
from ingestion_assets.repositories.resolving import ForbiddenAddress, resolve
from ingestion_assets.repositories.submissions import submission_in

HOSTS = ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org"]
PRIVATE = ["git.internal", "127.0.0.1:8443", "http://127.0.0.1:8080"]

TAKEN = {
    "github.com/user/repo": "github.com/user/repo",
    "https://github.com/user/repo": "github.com/user/repo",
    "http://github.com/user/repo": "github.com/user/repo",
    "https:/github.com/user/repo": "github.com/user/repo",
    "HTTPS://GitHub.com/User/Repo": "github.com/user/repo",
    "github.com/user/repo.git": "github.com/user/repo",
    "github.com/user/repo.git/": "github.com/user/repo",
    "github.com/user/repo.GIT": "github.com/user/repo",
    "github.com/user/repo.git.git": "github.com/user/repo",
    "github.com/user/repo///": "github.com/user/repo",
    "github.com:443/user/repo": "github.com/user/repo",
    "github.com/user/.github": "github.com/user/.github",
    "github.com/user/repo.js": "github.com/user/repo.js",
    "github.com/user/a_b-c.d+e": "github.com/user/a_b-c.d+e",
    "gitlab.com/group/sub/sub2/repo": "gitlab.com/group/sub/sub2/repo",
    "GITLAB.com/Group/Repo": "gitlab.com/group/repo",
    "bitbucket.org/user/repo": "bitbucket.org/user/repo",
    "codeberg.org/user/repo": "codeberg.org/user/repo",
    "git.internal/Repo": "git.internal/Repo",
    "git.internal:443/a/b/c.git": "git.internal/a/b/c",
    "https://127.0.0.1:8443/x.git": "127.0.0.1:8443/x",
    "127.0.0.1:8080/Case/x": "127.0.0.1:8080/Case/x",
}
REFUSED = [
    "", " ", "/", "github.com", "github.com/", "github.com/user", "github.com/user/", "github.com//repo",
    "github.com//user/repo", "github.com/user//repo", "github.com/user/repo/tree/main", "github.com/user/repo?x=1",
    "github.com/user/repo#readme", "github.com/user/..", "github.com/../repo", "github.com/./repo", "github.com/user/.",
    "github.com/user/.git", "github.com/user/...", "github.com/user/%2e%2e", "github.com/user%2frepo", "github.com/user/re%70o",
    "github.com/user/re po", "github.com/user/repo\n", "github.com/user/re\x00po", "github.com/user/re\x1bpo", "github.com/user/re\tpo",
    " github.com/user/repo", "github.com/-user/repo", "github.com/user/-repo", "github.com/user/--upload-pack=x", "--upload-pack=touch x",
    "-oProxyCommand=x", "user@github.com/user/repo", "user:secret@github.com/user/repo", "https://user:secret@github.com/user/repo",
    "https://github.com@example.com/user/repo", "https://example.com#@github.com/user/repo", "git@github.com:user/repo",
    "ssh://git@github.com/user/repo", "ssh://-oProxyCommand=x/user/repo", "git://github.com/user/repo", "ftp://github.com/user/repo",
    "file:///etc", "file://github.com/user/repo", "ext::sh -c x", "ext::https://github.com/user/repo", "https::https://github.com/user/repo",
    "//github.com/user/repo", "https:///github.com/user/repo", "https:github.com/user/repo", "https//github.com/user/repo",
    "javascript://github.com/user/repo", "github.com:22/user/repo", "github.com:8443/user/repo", "github.com:/user/repo",
    "github.com:443@example.com/user/repo", "github.com./user/repo", "github.com.example.com/user/repo", "www.github.com/user/repo",
    "example.com/user/repo", "github.co/user/repo", "gıthub.com/user/repo", "gіthub.com/user/repo", "ｇithub.com/user/repo",
    "github。com/user/repo", "xn--gthub-n4a.com/user/repo", "github.com/usér/repo", "github.com\\user\\repo", "github.com/user\\repo",
    "https:\\\\github.com/user/repo", "localhost/user/repo", "localhost./user/repo", "127.0.0.1/user/repo", "127.1/user/repo",
    "2130706433/user/repo", "0x7f000001/user/repo", "0177.0.0.1/user/repo", "0/user/repo", "[::1]/user/repo",
    "[::ffff:127.0.0.1]/user/repo", "[fe80::1%25eth0]/user/repo", "169.254.169.254/user/repo", "metadata.google.internal/user/repo",
    "127.0.0.1:8081/x", "/etc/passwd", "../user/repo", "local/etc/passwd", "~/repo", "C:\\repo", "github.com/user/" + "r" * 300,
    "github.com/" + "u/" * 600 + "r", "gitlab.com/repo", "gitlab.com/" + "g/" * 30 + "r",
]  # fmt: skip


@pytest.mark.parametrize(("text", "name"), TAKEN.items())
def test_taken(text: str, name: str) -> None:
    repository = parse(text, HOSTS, [], PRIVATE)
    assert repository.name == name
    assert parse(repository.name, HOSTS, [], PRIVATE) == repository


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidRepository, match=r".{20,}") as refused:
        parse(text, HOSTS, [], PRIVATE)
    assert "secret" not in str(refused.value)


_NAME = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=20)


@given(
    owner=_NAME, name=_NAME, scheme=st.sampled_from(["", "https://", "http://", "HTTPS://", "https:/"]),
    host=st.sampled_from(["github.com", "GitHub.COM", "github.com:443"]), end=st.sampled_from(["", "/", ".git", ".git/", "//", ".GIT"]),
    upper=st.booleans(),
)  # fmt: skip
def test_spellings_of_one_repository_have_one_name(
    owner: str, name: str, scheme: str, host: str, end: str, upper: bool
) -> None:
    path = f"{owner}/{name}"
    written = f"{scheme}{host.removesuffix(':443') if scheme == 'http://' else host}/{path.upper() if upper else path}{end}"
    assert parse(written, HOSTS, []) == parse(f"github.com/{path}", HOSTS, [])


@given(
    st.one_of(
        st.text(), st.sampled_from([*TAKEN, *REFUSED]).flatmap(lambda one: st.permutations(one).map("".join))
    )
)
def test_what_is_taken_is_named_by_its_name(text: str) -> None:
    try:
        repository = parse(text, HOSTS, [], PRIVATE)
    except InvalidRepository:
        return
    assert parse(repository.name, HOSTS, [], PRIVATE) == repository
    assert repository.host in {*HOSTS, "git.internal", "127.0.0.1:8443", "127.0.0.1:8080"}


def test_folders_below_a_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.git"
    for folder in (root / "a.git", root / "deep" / "b", outside):
        folder.mkdir(parents=True)
    (root / "link.git").symlink_to(outside)
    taken = {parse(f"{root}/{one}", HOSTS, [str(root)]) for one in ("a", "a.git", "a.git/")}
    assert len(taken) == 1
    (repository,) = taken
    assert parse(repository.name, HOSTS, [str(root)]) == repository
    assert parse(f"{root}/deep/b".removeprefix("/"), HOSTS, [f"{root}/"]).url == f"file://{root}/deep/b"
    for refused in ("../outside.git", "link", "none", "", "deep/../a", f"../{root.name}x/a"):
        with pytest.raises(InvalidRepository):
            parse(f"{root}/{refused}", HOSTS, [str(root)])


def test_a_root_may_have_any_name(tmp_path: Path) -> None:
    root = tmp_path / "o'neil@example.com 100%" / "größe"
    (root / "a.git").mkdir(parents=True)
    repository = parse(f"{root}/a", HOSTS, [str(root)])
    assert "@" not in repository.name
    assert repository.name.isascii()
    assert parse(repository.name, HOSTS, [str(root)]) == repository
    submission = submission_in(Submission(repository.name, "v@1").partition)
    assert (submission.repository, submission.ref) == (repository.name, "v@1")
    git = ["git", "-c", "init.defaultBranch=main"]
    subprocess.run([*git, "init", "-q", "--bare", root / "a.git"], check=True)
    assert subprocess.run([*git, "ls-remote", repository.url], check=False).returncode == 0


def test_a_commit_has_one_name() -> None:
    assert check_ref("0A" * 20) == "0a" * 20
    assert check_ref("Release") == "Release"


@pytest.mark.parametrize(
    "ref", ["main", "release/2026-für-alle", "v1.0", "a@b", "@scope/name@1.0", "feature/x.y"]
)
def test_refs_taken(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    ["", "-x", "--upload-pack=x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a@{1}", "/a", "a/", "a//b", ".a", "a/.b",
     "a.lock", "a.", "a\n", "a\x00", "@", "x" * 251, "\ud800"],
)  # fmt: skip
def test_refs_refused(ref: str) -> None:
    with pytest.raises(InvalidRepository):
        check_ref(ref)


@given(st.binary().filter(lambda path: b"\0" not in path))
def test_paths_are_stored_reversibly_and_shown_harmlessly(path: bytes) -> None:
    assert restored(stored(path)) == path
    assert "\0" not in stored(path)
    assert shown(path).isprintable()


FORBIDDEN = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
@pytest.mark.parametrize("beside", [[], ["140.82.112.3"]])
def test_one_address_that_is_not_public_refuses_the_host(address: str, beside: list[str]) -> None:
    for order in ([*beside, address], [address, *beside]):
        with pytest.raises(ForbiddenAddress, match="private network"):
            resolve("host.example", 443, lookup=lambda *_, order=order: order)


def test_no_answer_refuses_and_public_ones_are_all_given() -> None:
    with pytest.raises(ForbiddenAddress, match="no address"):
        resolve("host.example", 443, lookup=lambda *_: [])
    with pytest.raises(ForbiddenAddress, match="cannot be resolved"):
        resolve("no-such-host.invalid", 443)
    public = ["140.82.112.3", "2606:50c0:8000::153"]
    assert resolve("host.example", 443, lookup=lambda *_: public) == public
