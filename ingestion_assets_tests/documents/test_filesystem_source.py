"""Filesystems of fsspec: S3, and where connections must not lead."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.sources import filesystem, filesystem_options, opening
from ingestion_assets.documents.sources.filesystem_options import ForbiddenHostError, OptionError
from ingestion_assets.documents.sources.listing import select
from ingestion_assets.documents.sources.source import Source
from ingestion_assets_tests.object_stores import BUCKET, S3Server, s3_server

MOST = 1 << 26
SETTINGS = DocumentsSettings(fsspec_protocols="s3,https,sftp,gs,file", document_private_hosts="127.0.0.1")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        running.make_bucket()
        yield running


def put(s3: S3Server, key: str, content: bytes) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=s3.url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.put_object(Bucket=BUCKET, Key=key, Body=content)


def connected(s3: S3Server, path: str) -> Source:
    options = {"key": "key", "secret": "secret", "endpoint_url": s3.url, "region": "us-east-1"}
    return opening.opened("s3", {"path": path, "options": options}, SETTINGS)


def test_an_object_store_is_a_source(s3: S3Server, tmp_path: Path) -> None:
    for key, content in {
        "docs/a.txt": b"a",
        "docs/sub/b.txt": b"b",
        "docs/.DS_Store": b"x",
        "docs/a//c": b"c",
        "docs-other/x": b"x",
    }.items():
        put(s3, key, content)
    with closing(connected(s3, f"{BUCKET}/docs")) as source:
        source.test()
        found = {one.path: one.ignored or one.refused for one in source.entries()}
        assert found == {".DS_Store": "of macOS", "a.txt": None, "a//c": "unsafe_path", "sub/b.txt": None}
        entry = source.entry("a.txt")
        assert entry is not None
        assert (entry.size, entry.digest) == (1, 'etag:"0cc175b9c0f1b6a831c399e269772661"')
        fetched = source.fetch("sub/b.txt", tmp_path / "into", max_bytes=MOST)
        assert (fetched.path.read_bytes(), fetched.name) == (b"b", "b.txt")
        for id_, code in {"none": "not_found", "../docs-other/x": "unsafe_path", "sub": "not_found"}.items():
            with pytest.raises(FileError) as raised:
                source.fetch(id_, tmp_path / "other", max_bytes=MOST)
            assert raised.value.code == code
    with closing(connected(s3, f"{BUCKET}/nowhere")) as source, pytest.raises(FileError) as raised:
        list(source.entries())
    assert raised.value.code == "not_found"


def test_a_key_with_signs_of_globs_is_that_object(s3: S3Server) -> None:
    keys = ["a[1].txt", "a1.txt", "page?x=1", "page1x=1"]
    for key in keys:
        put(s3, f"signs/{key}", b"x")
    with closing(connected(s3, f"{BUCKET}/signs")) as source:
        for key in keys:
            assert [one.file_id for one in select(source, [key]).entries] == [key]
        assert [one.file_id for one in select(source, ["page?x=?"]).entries] == ["page1x=1", "page?x=1"]


def test_an_object_that_is_replaced_while_it_is_read(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "BLOCK_BYTES", 1 << 18)
    put(s3, "replaced/a.bin", b"a" * (1 << 21))

    def replace(_done: int, _of: int | None) -> None:
        put(s3, "replaced/a.bin", b"b" * (1 << 21))

    with closing(connected(s3, f"{BUCKET}/replaced")) as source, pytest.raises(FileError) as raised:
        source.fetch("a.bin", tmp_path / "into", max_bytes=MOST, progress=replace)
    assert raised.value.code == "source_changed"
    assert not (tmp_path / "into").exists()


def test_a_store_that_is_away_is_a_failure_that_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    options = {"key": "k", "secret": "planted-secret", "endpoint_url": f"http://127.0.0.1:{port}"}
    with (
        pytest.raises(FileError) as raised,
        closing(opening.opened("s3", {"path": "b/c", "options": options}, SETTINGS)) as source,
    ):
        source.test()
    assert (raised.value.code, raised.value.retryable) == ("download_failed", True)
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1", "168.63.129.16"],
)
def test_no_connection_is_made_to_an_address_that_is_not_public(address: str) -> None:
    """Whatever led there: a name, a redirect, an address as it is."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(ForbiddenHostError):
        filesystem_options.public_socket((family, socket.SOCK_STREAM, 6, "", (address, 80)))
    filesystem_options.public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))).close()


@pytest.mark.parametrize(
    ("protocol", "path", "options"),
    [
        ("file", "/etc", {}), ("s3", "b", {"anon": False}), ("s3", "b", {"client_kwargs": {}}), ("s3", "b::file:///etc", {}),
        ("gs", "b", {"token": "/etc/passwd"}), ("gs", "b", {"token": "google_default"}), ("https", "https://user:pw@example.com/", {}),
        ("https", "ftp://example.com/", {}), ("s3", "b", {"key": 1}), ("s3", "b", {"endpoint_url": "file:///etc"}),
    ],
)  # fmt: skip
def test_options_that_reach_the_server_itself_are_not_taken(
    protocol: str, path: str, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError):
        filesystem_options.made(protocol, path, options, SETTINGS)


def test_the_servers_own_credentials_are_not_used() -> None:
    made = filesystem_options.made("s3", "bucket", {}, SETTINGS)
    assert made["anon"] is True
    assert filesystem_options.made("gs", "bucket", {}, SETTINGS)["token"] == "anon"
    sftp = filesystem_options.made("sftp", "127.0.0.1/files", {"username": "u"}, SETTINGS)
    assert (sftp["look_for_keys"], sftp["allow_agent"]) == (False, False)
