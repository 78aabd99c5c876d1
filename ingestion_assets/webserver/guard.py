"""What stands before Dagster's webserver: whose requests reach it. It knows nothing of Dagster.

The webserver itself asks nobody for a password, answers under any name and takes mutations by GET, so that any
page in the browser of whoever runs the stack could change it.
"""

import base64
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestion_assets.settings import Settings

HEALTH = "/server_info"
"""Answered without a password: probes have none. It tells versions."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE = 'Basic realm="Dagster", charset="UTF-8"'


class ConfigurationError(ValueError):
    """Settings that leave the webserver open or shut; the text says which."""


class Refusal(Exception):  # noqa: N818
    """The answer to a request that may not pass."""

    def __init__(self, status: HTTPStatus, detail: str, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Whom the webserver serves."""

    hosts: frozenset[str]
    """Names under which it is reached, loopback aside."""
    origins: frozenset[str]
    """Names whose pages may ask, beside those that come from the very host and port that is asked."""
    password: str | None = None
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    user_header: str = "X-Forwarded-User"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises `ConfigurationError`."""
        listed = {name.lower() for name in _listed(settings.webserver_hosts)}
        public = {urlsplit(settings.public_webserver_url or "").hostname or ""} - {""}
        inside = {urlsplit(settings.dagster_url).hostname or "", settings.host.lower()}
        login = settings.dagster_login
        try:
            proxies = tuple(ip_network(name, strict=False) for name in _listed(settings.webserver_proxies))
        except ValueError as error:
            raise ConfigurationError(f"INGESTION_WEBSERVER_PROXIES: {error}") from None
        if proxies and login is None:
            raise ConfigurationError(
                "INGESTION_WEBSERVER_PROXIES needs INGESTION_WEBSERVER_PASSWORD too: "
                "front doors do not come through the proxy when they start runs."
            )
        return cls(
            hosts=frozenset(name for name in listed | public | inside if not _means_any(name)), origins=frozenset(listed | public), proxies=proxies,
            password=None if login is None else login[1],
            user_header=settings.webserver_user_header,
        )  # fmt: skip


class Guard:
    """ASGI application that passes on to `app` what the `rules` allow, and answers the rest itself."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            check(scope, self._rules)
        except Refusal as refusal:
            await (_refuse_socket if scope["type"] == "websocket" else _refuse)(refusal, receive, send)
            return
        await self._app(scope, receive, _unframed(send))


def check(scope: Scope, rules: Rules) -> None:
    """Raises `Refusal`."""
    headers = Headers(scope=scope)
    host = _host(headers, rules)
    _authenticated(scope, headers, rules)
    _from_own_page(scope, headers, host=host, rules=rules)
    if scope["type"] == "http":
        _harmless_or_json(scope, headers)


def _host(headers: Headers, rules: Rules) -> str:
    """A page that rebinds its own name to our address comes under that name."""
    given = headers.getlist("host")
    if len(given) != 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, "A request names one host.")
    host = given[0].lower()
    name = _hostname(host)
    if name is None or not (_is_loopback(name) or name in rules.hosts):
        raise Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            "This is not a name of this server. If it should be one, add it to INGESTION_WEBSERVER_HOSTS, "
            "or set INGESTION_PUBLIC_WEBSERVER_URL.",
        )
    return host


def _authenticated(scope: Scope, headers: Headers, rules: Rules) -> None:
    if rules.password is None or (scope["type"] == "http" and scope["path"] == HEALTH):
        return
    if _from_proxy(scope, rules) and headers.get(rules.user_header):
        return
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(encoded, validate=True).partition(b":")[2]
        except ValueError:  # no base64, not even ASCII
            given = b""
        if hmac.compare_digest(given, rules.password.encode()):
            return
    raise Refusal(
        HTTPStatus.UNAUTHORIZED,
        "The Dagster UI asks for the password of INGESTION_WEBSERVER_PASSWORD; any user name will do.",
        headers=(("WWW-Authenticate", _CHALLENGE),),
    )


def _from_proxy(scope: Scope, rules: Rules) -> bool:
    peer = (scope.get("client") or ("",))[0]
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address  # who comes over IPv4 to a listener of both
    return any(address in network for network in rules.proxies)


def _from_own_page(scope: Scope, headers: Headers, *, host: str, rules: Rules) -> None:
    """Browsers say which page asks; who is no browser says nothing."""
    origins = headers.getlist("origin")
    if origins:
        for origin in origins:
            page = origin.lower().partition("://")[2]
            if page != host and _hostname(page) not in rules.origins:
                raise _foreign()
        return
    # A link on another page may lead here; nothing else of it may.
    followed = scope["type"] == "http" and scope["method"] in _SAFE and not _is_graphql(scope)
    followed = followed and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not followed:
        raise _foreign()


def _foreign() -> Refusal:
    return Refusal(
        HTTPStatus.FORBIDDEN,
        "A page of another site may not ask this server. If it is yours, add its name to INGESTION_WEBSERVER_HOSTS.",
    )


def _harmless_or_json(scope: Scope, headers: Headers) -> None:
    """GET changes nothing; what may change something comes as JSON, which no form of another page can send."""
    if scope["method"] in _SAFE:
        if _is_graphql(scope):
            _only_queries(value for name, value in _parameters(scope) if name == "query")
        return
    kinds = headers.getlist("content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "This server takes `Content-Type: application/json` alone.",
        )


def _only_queries(documents: Iterable[str]) -> None:
    for document in documents:
        try:
            parsed = parse(document)
        except (GraphQLError, RecursionError):
            raise Refusal(HTTPStatus.BAD_REQUEST, "This is not GraphQL.") from None
        operations = [node for node in parsed.definitions if isinstance(node, OperationDefinitionNode)]
        if any(node.operation is not OperationType.QUERY for node in operations):
            raise Refusal(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "What changes something is sent by POST, with `Content-Type: application/json`.",
                headers=(("Allow", "POST"),),
            )


def _parameters(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _is_graphql(scope: Scope) -> bool:
    return scope["path"].rstrip("/").endswith("/graphql")


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _means_any(name: str) -> bool:
    """Whether `name` is none to be reached under: empty, or the address that stands for all of a machine's."""
    try:
        return not name or ip_address(name).is_unspecified
    except ValueError:
        return False


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _unframed(send: Send) -> Send:
    """No page of another site lays ours under its own buttons."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("X-Frame-Options", "SAMEORIGIN")
        await send(message)

    return sending


async def _refuse(refusal: Refusal, receive: Receive, send: Send) -> None:  # noqa: ARG001
    body = json.dumps(
        {"title": refusal.status.phrase, "status": refusal.status, "detail": refusal.detail}
    ).encode()
    headers = (
        *(("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))), *refusal.headers
    )  # fmt: skip
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status.value,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _refuse_socket(refusal: Refusal, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": refusal.status.phrase})
