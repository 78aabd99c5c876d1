"""Errors as clients see them: RFC 9457 problem details, the human sentence in `detail`."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from pydantic import BaseModel, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class ErrorItem(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(description="Where: `body`, `query`, `header` or `path`, then the way down.")
    msg: str = Field(description="What is wrong.")
    type: str = Field(description="A stable code.")


class ProblemDetails(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What was wrong, in a sentence.")
    errors: list[ErrorItem] | None = Field(None, description="On validation failures, each one by its place.")


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """Raise anywhere below an endpoint to answer with problem details."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, Any]] | None = None,
        retry_after_s: float | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = retry_after_header(retry_after_s)
        self.errors = errors
        self.members = members

    def response(self) -> Response:
        """The answer that says it."""
        try:
            title = HTTPStatus(self.status).phrase
        except ValueError:
            title = "Error"
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        return Response(msgspec.json.encode(body), self.status, media_type=MEDIA_TYPE, headers=self.headers)


def invalid(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """422 that names what is wrong by its place; `errors` as `error_item` makes them."""
    places = [f"{'.'.join(map(str, item['loc']))} ({item['msg']})" for item in errors[:5]]
    return Problem(422, f"The request is not valid: {', '.join(places)}.", errors=errors)


def unexpected() -> Problem:
    """500 that gives nothing away."""
    return Problem(500, "Something went wrong on the server; the request id finds it in the log.")


def unavailable(dependency: str, *, retry_after_s: float = 5, why: str = "is not reachable") -> Problem:
    """503 that names the dependency which is down."""
    return Problem(
        503,
        f"{dependency} {why}; try again later.",
        retry_after_s=retry_after_s,
        dependency=dependency,
    )


def too_many_requests(why: str, *, retry_after_s: float, headers: Mapping[str, str] | None = None) -> Problem:
    """429 that says when to come again."""
    detail = f"{why}; try again in {retry_after_header(retry_after_s)} s."
    return Problem(429, detail, headers=headers, retry_after_s=retry_after_s)


def retry_after_header(seconds: float) -> str:
    """Whole seconds, at least one, as the header `Retry-After` wants them."""
    return str(max(1, int(-(-seconds // 1))))


def error_item(*loc: str | int, msg: str, type: str) -> dict[str, Any]:  # noqa: A002 - the contract's name
    """One entry of `errors`."""
    return {"loc": list(loc), "msg": msg, "type": type}
