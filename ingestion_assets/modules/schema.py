"""What comes in and what goes out: the sync request, checked once at the edge, and the answer to it."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from ingestion_assets.modules.versions import MAX_LENGTH, VersionError, is_version, parse

MAX_MODULES = 2000
MAX_TEXT = 255
MAX_WORDS = 1000
CLOCK_SKEW = timedelta(hours=24)
_PROJECT_LINK = re.compile(r"^https?://(?:www\.)?drupal\.org/project/(?:[a-z_]+/)?([a-z0-9_]+)/?$")
_PROJECT = re.compile(r"[a-z0-9_]{1,128}")
CORE = "drupal"  # the project that core is on drupal.org
# PHP_VERSION as PHP and its distributors write it: 8.3.0, 8.4.0RC1, 8.2.0-1ubuntu2.14, 8.1.2+1~deb
_PHP = r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}([-+~A-Za-z][A-Za-z0-9_.+~:-]{0,64})?$"


def _version(text: str) -> str:
    try:
        parse(text)
    except VersionError as error:
        raise PydanticCustomError(
            "version", "Invalid version format: {reason}", {"reason": str(error)}
        ) from error
    return text


def _core_version(text: str) -> str:
    if not is_core_version(_version(text)):
        reason = {"reason": f"{text[:60]!r} is the version of a module for Drupal, not of Drupal"}
        raise PydanticCustomError("version", "Invalid version format: {reason}", reason)
    return text


def _plain(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "A NUL character cannot be stored")
    return text


def _as_utc(moment: datetime) -> datetime:
    if not 1990 <= moment.year <= 9000:
        raise PydanticCustomError("time", "The time lies before Drupal's or too far in the future")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)]
Words = Annotated[list[Annotated[Text, Field(max_length=MAX_TEXT)]], Field(max_length=MAX_WORDS)]


class ModuleInfo(BaseModel):
    """One module of a site. Fields beyond these are ignored."""

    machine_name: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\s/\x00-\x1f\x7f]+$")]
    name: Name
    type: Literal["core", "contrib", "custom"]
    version: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH), AfterValidator(_version)] = Field(
        description="A version as Drupal writes them: `8.x-1.0-rc3`, `10.2.1`, `2.0.x-dev`, `dev-main`."
    )
    status: bool = Field(description="Whether the module is enabled.")
    schema_version: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | None = Field(
        None, description="Database schema version."
    )
    package: Annotated[Text, Field(max_length=MAX_TEXT)] | None = None
    core_compatibility: Words = Field(default_factory=list)
    dependencies: Words = Field(default_factory=list)
    description: Annotated[Text, Field(max_length=20_000)] | None = None
    project_link: Annotated[Text, Field(max_length=2_000)] | None = None
    security_coverage: bool = True
    project: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,128}$")] | None = Field(
        None,
        description="The drupal.org project the module comes with, where that has another name: `webform` for `webform_ui`.",
    )
    datestamp: Annotated[int, Field(ge=0, le=2**40)] | None = Field(
        None,
        description="When a development snapshot was packaged, in seconds since 1970 (`datestamp` in `.info.yml`).",
    )

    def drupal_project(self) -> str:
        """The project whose releases say whether this module is secure; empty where it can be none of drupal.org's."""
        if self.project:
            return self.project
        if self.type == "core":
            return CORE
        if self.type == "custom":
            return ""
        link = _PROJECT_LINK.match(self.project_link or "")
        if link:
            return link[1]
        return self.machine_name if is_project(self.machine_name) else ""


def is_project(name: str) -> bool:
    """Whether a project on drupal.org may have this name."""
    return _PROJECT.fullmatch(name) is not None


def as_php_version(text: str) -> str | None:
    """PHP's version as the API takes it: of two numbers, as Composer's platform has it, the first release; None for no version."""
    whole = f"{text}.0" if re.fullmatch(r"[0-9]+\.[0-9]+", text) else text
    return whole if re.fullmatch(_PHP, whole) else None


def is_core_version(text: str) -> bool:
    """Whether Drupal itself may have this version."""
    return is_version(text) and parse(text).core is None


class ModuleSyncRequest(BaseModel):
    """What is installed on a site at a moment."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "site_info": {"name": "Example Site", "environment": "production", "last_cron": "2026-01-15T10:30:00Z"},
                "modules": [
                    {"machine_name": "views", "name": "Views", "type": "core", "version": "10.2.1", "status": True},
                    {"machine_name": "token", "name": "Token", "type": "contrib", "version": "8.x-1.15", "status": True},
                ],
                "sync_timestamp": "2026-01-15T10:35:00Z",
                "drupal_version": "10.2.1",
                "php_version": "8.3.0",
                "sync_type": "full",
            }
        }
    )  # fmt: skip

    site_info: dict[str, Any] = Field(description="Whatever else the site says of itself; kept.")
    modules: Annotated[list[ModuleInfo], Field(min_length=1, max_length=MAX_MODULES)]
    sync_timestamp: Annotated[datetime, AfterValidator(_as_utc)] = Field(
        description="When the data was collected. Without a zone it is taken as UTC."
    )
    drupal_version: Annotated[
        str, Field(min_length=1, max_length=MAX_LENGTH), AfterValidator(_core_version)
    ] = Field(
        description="What Drupal itself is: `10.2.1`, `11.4.0-rc1`, `11.x-dev`. It is judged like a module."
    )
    php_version: Annotated[str, Field(pattern=_PHP)]
    sync_type: Literal["full", "partial"] = Field(
        "full", description="`full`: what is not named was removed; `partial`: only what is named is touched."
    )


class RevertedRequest(ModuleSyncRequest):
    """An earlier inventory, applied again; it may be empty."""

    modules: Annotated[list[ModuleInfo], Field(max_length=100_000)]


class SyncResponse(BaseModel):
    """What became of a sync. `processed_count` = new + returned + modified + unchanged + superseded."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "success": True, "state": "applied", "sync_id": "sync_0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f", "site_id": 1, "processed_count": 245,
                "new_modules": 3, "updated_modules": 12, "removed_modules": 1, "security_updates_found": 2, "warnings": [],
                "errors": [], "processing_time_ms": 850, "next_sync_after": "2026-01-15T10:35:02Z",
            }
        }
    )  # fmt: skip

    success: bool = Field(description="Whether it was applied.")
    state: Literal["applied", "superseded", "held"] = Field(
        description="`superseded`: a newer snapshot was applied before, this one changed nothing; `held`: it waits to be confirmed."
    )
    superseded_by: str | None = Field(None, description="The receipt of the newer sync, where there is one.")
    sync_id: str = Field(description="The sync, also the receipt's id after `sync_`.")
    site_id: int
    processed_count: int
    new_modules: int = Field(default=0, description="Never reported before.")
    updated_modules: int = Field(default=0, description="With another version than before.")
    removed_modules: int = Field(default=0, description="No longer reported by a full sync.")
    returned_modules: int = Field(default=0, description="Removed before, reported again.")
    enabled_modules: int = 0
    disabled_modules: int = 0
    modified_modules: int = Field(
        default=0, description="With anything else than before: version, status or a description."
    )
    unchanged_modules: int = 0
    superseded_modules: int = Field(
        default=0, description="Reported by a sync that is older than what was applied; all of them or none."
    )
    security_updates_found: int = Field(
        default=0, description="Reported modules that need a security update; core counts as one."
    )
    warnings: list[str] = Field(default_factory=list)
    errors: list[str] = Field(default_factory=list)
    processing_time_ms: int = Field(description="From acceptance to the end.")
    next_sync_after: datetime | None = Field(
        None, description="When the site's rate limit allows the next sync."
    )


class RequestError(ValueError):
    """A request body that is not valid; `errors` says what and where, `malformed` that it is not even JSON."""

    def __init__(self, detail: str, *, errors: Sequence[Mapping[str, Any]], malformed: bool = False) -> None:
        super().__init__(detail)
        self.errors = errors
        self.malformed = malformed


@lru_cache
def _adapter(model: type[ModuleSyncRequest]) -> TypeAdapter[ModuleSyncRequest]:
    return TypeAdapter(model)


def decode_request(body: bytes, *, now: datetime | None = None, reverted: bool = False) -> ModuleSyncRequest:
    """Read and check a request body. `now` limits how far ahead of it the snapshot may be. Raises `RequestError`."""
    try:
        request = _adapter(RevertedRequest if reverted else ModuleSyncRequest).validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from error
    errors = [*_repeated(request), *_unstorable(request.site_info)]
    if now is not None and request.sync_timestamp > now + CLOCK_SKEW:
        errors.append(_item(["sync_timestamp"], "lies more than a day in the future", "time"))
    if errors:
        raise RequestError(f"The request is not valid: {errors[0]['msg']}.", errors=errors)
    return request


def _invalid(error: ValidationError) -> RequestError:
    items = [
        _item(one["loc"], one["msg"], one["type"])
        for one in error.errors(include_url=False, include_context=False, include_input=False)[:100]
    ]
    if items[0]["type"] == "json_invalid":
        return RequestError(
            f"The request body is not well-formed JSON: {items[0]['msg']}.", errors=items, malformed=True
        )
    where = ", ".join(".".join(map(str, one["loc"])) for one in items[:5])
    return RequestError(f"The request is not valid: {where}: {items[0]['msg']}.", errors=items)


def _item(loc: Sequence[str | int], msg: str, type: str) -> dict[str, Any]:  # noqa: A002 - the contract's name
    return {"loc": ["body", *loc], "msg": msg, "type": type}


def _repeated(request: ModuleSyncRequest) -> list[dict[str, Any]]:
    seen: dict[str, int] = {}
    errors = []
    for index, module in enumerate(request.modules):
        first = seen.setdefault(module.machine_name, index)
        if first != index:
            msg = f"{module.machine_name} is reported twice, first at {first}"
            errors.append(_item(["modules", index, "machine_name"], msg, "duplicate"))
    return errors


def _unstorable(value: Any, loc: tuple[str | int, ...] = ("site_info",)) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [_item(loc, "A NUL character cannot be stored", "nul")] if "\0" in value else []
    if isinstance(value, float):
        return [] if math.isfinite(value) else [_item(loc, "is no finite number", "finite_number")]
    if isinstance(value, dict):
        named = [
            _item((*loc, "…"), "A NUL character cannot be stored", "nul") for key in value if "\0" in key
        ]
        return named + [error for key, one in value.items() for error in _unstorable(one, (*loc, key))]
    if isinstance(value, list):
        return [error for index, one in enumerate(value) for error in _unstorable(one, (*loc, index))]
    return []
