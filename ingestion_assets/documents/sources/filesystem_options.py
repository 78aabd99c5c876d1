"""What a user may say of a filesystem, and what of it reaches fsspec: credentials and addresses, no file of this machine, no credentials
of this server, no host in a private network."""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.public_addresses import is_public

# They read this machine's files, or stand for others that do.
_NEVER = frozenset({
    "file", "local", "asynclocal", "dir", "cached", "blockcache", "filecache", "simplecache", "reference", "generic", "zip", "tar",
    "libarchive", "git", "async_wrapper", "asyncwrapper", "data", "root", "memory", "dask", "pyscript",
})  # fmt: skip


class OptionError(ValueError):
    """An option that is not taken."""

    def __init__(self, why: str, *where: str) -> None:
        super().__init__(why)
        self.where = where


class ForbiddenHostError(OSError):
    """A host that must not be reached."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """`taken`: names of options; `make` turns them into fsspec's, given where they lead to."""

    taken: frozenset[str]
    make: Callable[[Mapping[str, Any], "_Reach"], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Reach:
    path: str
    settings: DocumentsSettings

    def public(self, host: str, port: int | None) -> bool:
        """Whether only public addresses may be reached; False for a host that the settings name. Raises `ForbiddenHostError`."""
        named = {
            one.strip().lower() for one in self.settings.document_private_hosts.split(",") if one.strip()
        }
        return not ({host.lower(), f"{host.lower()}:{port}"} & named)


def address(protocol: str, path: str) -> str:
    """The whole address of a path."""
    return path if path.startswith(f"{protocol}://") else f"{protocol}://{path.lstrip('/')}"


def made(protocol: str, path: str, options: Mapping[str, Any], settings: DocumentsSettings) -> dict[str, Any]:
    """What fsspec's class gets. Raises `OptionError`, `ForbiddenHostError`."""
    if protocol in _NEVER:
        raise OptionError(f"{protocol} reads files of this machine; take local_directory")
    if "::" in path:
        raise OptionError("filesystems cannot be chained (`::`)", "path")
    kind = _KINDS.get(protocol)
    if kind is None:
        return dict(options)
    unknown = sorted(set(options) - kind.taken)
    if unknown:
        raise OptionError(f"{protocol} takes {', '.join(sorted(kind.taken))} alone", "options", unknown[0])
    return kind.make(options, _Reach(path, settings))


def _s3(options: Mapping[str, Any], reach: _Reach) -> dict[str, Any]:
    known = {name: _text(options, name) for name in ("key", "secret", "token", "endpoint_url", "region")}
    anonymous = known["key"] is None  # else the server's own credentials would be looked for
    made: dict[str, Any] = {name: known[name] for name in ("key", "secret", "token") if known[name]}
    made |= {"anon": anonymous, "config_kwargs": {"connect_timeout": 10, "read_timeout": 60}}
    if known["region"]:
        made["client_kwargs"] = {"region_name": known["region"]}
    if known["endpoint_url"]:
        host, port = _host_of(known["endpoint_url"], "endpoint_url")
        made["endpoint_url"] = known["endpoint_url"]
        if reach.public(host, port):
            made["config_kwargs"]["connector_args"] = {"socket_factory": public_socket}
            _check_public(host, port or 443)
    return made


def _http(options: Mapping[str, Any], reach: _Reach) -> dict[str, Any]:
    host, port = _host_of(address("https", reach.path) if "://" not in reach.path else reach.path, "path")
    made: dict[str, Any] = {}
    user, password = _text(options, "username"), _text(options, "password")
    if user is not None:
        import aiohttp  # noqa: PLC0415

        made["client_kwargs"] = {"auth": aiohttp.BasicAuth(user, password or "")}
    if reach.public(host, port):
        made["get_client"] = _public_client
        _check_public(host, port or 443)
    return made


def _sftp(options: Mapping[str, Any], reach: _Reach) -> dict[str, Any]:
    host = urlsplit(address("sftp", reach.path)).hostname or ""
    port = int(options.get("port") or 22)
    where = _check_public(host, port) if reach.public(host, port) else host
    return {
        "host": where, "port": port, "username": _text(options, "username"), "password": _text(options, "password"),
        "look_for_keys": False, "allow_agent": False, "timeout": 30,
    }  # fmt: skip


def _gs(options: Mapping[str, Any], _reach: _Reach) -> dict[str, Any]:
    token = options.get("token")
    if token is not None and not isinstance(
        token, dict
    ):  # a text would be a file of this machine, or this server's own account
        raise OptionError("the token is the key of a service account, as an object", "options", "token")
    return {"token": token or "anon", "project": _text(options, "project")}


def _azure(options: Mapping[str, Any], _reach: _Reach) -> dict[str, Any]:
    made = {name: _text(options, name) for name in ("account_name", "account_key", "sas_token")}
    return {**made, "anon": not (made["account_key"] or made["sas_token"])}


_KINDS = {
    "s3": _Kind(frozenset({"key", "secret", "token", "endpoint_url", "region"}), _s3),
    "http": _Kind(frozenset({"username", "password"}), _http),
    "https": _Kind(frozenset({"username", "password"}), _http),
    "sftp": _Kind(frozenset({"username", "password", "port"}), _sftp),
    "gs": _Kind(frozenset({"token", "project"}), _gs),
    "gcs": _Kind(frozenset({"token", "project"}), _gs),
    "abfs": _Kind(frozenset({"account_name", "account_key", "sas_token"}), _azure),
    "az": _Kind(frozenset({"account_name", "account_key", "sas_token"}), _azure),
}


def public_socket(info: Any) -> socket.socket:
    """A socket to a public address, whatever name or redirect led to it. For aiohttp's connections."""
    family, kind, protocol, _, where = info
    if not is_public(ipaddress.ip_address(where[0])):
        raise ForbiddenHostError("its address lies in a private network")
    return socket.socket(family=family, type=kind, proto=protocol)


async def _public_client(**given: Any) -> Any:
    import aiohttp  # noqa: PLC0415

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=public_socket), **given)


def _check_public(host: str, port: int) -> str:
    """A public address of a host. Raises `ForbiddenHostError` if one of its addresses is not, or it has none."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise ForbiddenHostError("its host has no address") from error
    if not all(is_public(ipaddress.ip_address(one)) for one in found):
        raise ForbiddenHostError(
            "its host lies in a private network; INGESTION_DOCUMENT_PRIVATE_HOSTS names those that may"
        )
    return min(found)


def _host_of(url: str, where: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, None
    if not host or parts is None or parts.scheme not in {"http", "https"} or "@" in parts.netloc:
        raise OptionError("an address `https://host/…` without user name and password is needed", where)
    return host, port


def _text(options: Mapping[str, Any], name: str) -> str | None:
    value = options.get(name)
    if value is not None and not isinstance(value, str):
        raise OptionError("a text is needed", "options", name)
    return value
