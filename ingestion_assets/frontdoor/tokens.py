"""API keys as such: what a token looks like, what its scopes allow. No I/O."""

import re
import secrets
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256

from ingestion_assets.landing.scopes import Scope

PREFIX = "ing_"
_SHAPE = re.compile(r"ing_([A-Za-z0-9_-]{43})([0-9a-f]{8})")
_OF_ALL = ("read", "admin")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request: the key's name, which owns its receipts, and what it may do."""

    name: str
    scopes: frozenset[str]

    def may(self, *wanted: str) -> bool:
        """Whether one of the wanted scopes is held; `admin` holds all, `sites:*` every `sites:<one>`."""
        return any(allows(self.scopes, scope) for scope in wanted)


def allows(held: frozenset[str], wanted: str) -> bool:
    """Whether the scopes held include the wanted one."""
    if wanted in held or "admin" in held:
        return True
    family, colon, _ = wanted.partition(":")
    return bool(colon) and f"{family}:*" in held


def scopes_help(known: Iterable[Scope]) -> str:
    """What scopes there are, for a person: those of flows, and those that go beyond one flow."""
    return ", ".join([*(one for scope in known for one in scope.help()), *_OF_ALL])


def parse_scopes(scopes: Iterable[str], known: Collection[Scope]) -> list[str]:
    """The scopes, sorted and without repetitions. Raises `ValueError` for one that is not `known` and not for all flows."""
    grammar = re.compile("|".join([*(scope.grammar() for scope in known), *_OF_ALL]))
    wanted = sorted({scope.strip() for scope in scopes})
    if not wanted:
        raise ValueError("a key needs at least one scope")
    for scope in wanted:
        if not grammar.fullmatch(scope):
            raise ValueError(
                f"unknown scope {scope!r}: use {scopes_help(known)}, or the name of a drop zone that is in force"
            )
    return wanted


def new_token() -> str:
    """A token of 256 random bits. Its prefix lets secret scanners find it, its checksum lets typing errors show."""
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{secret}{zlib.crc32(secret.encode()):08x}"


def is_well_formed(token: str) -> bool:
    """Whether a token can be one of ours at all."""
    match = _SHAPE.fullmatch(token)
    return bool(match) and zlib.crc32(match[1].encode()) == int(match[2], 16)


def digest(token: str) -> bytes:
    """What is stored of a token. Tokens are random, so a plain hash gives nothing away."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
