"""Small JSON bodies that are no payloads: read under the limits of every body, once the sender is known to be allowed, then checked."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.problems import Problem, error_item, invalid
from ingestion_assets.frontdoor.request_headers import check_media_type

Model = TypeVar("Model", bound=BaseModel)


async def json_body(request: Request, model: type[Model]) -> Model:
    """The request's body as `model`. To be called after `authenticate`.

    Raises `Problem` 400, 408, 413, 415, 422, 503; `ClientDisconnect`.
    """
    door = front_door(request)
    headers = request.scope["state"]["headers"]
    check_media_type(headers)
    with door.body_memory.reserve() as reservation:
        body = await door.bodies.read(request.receive, headers, reservation)
        door.bodies.check_depth(body)
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise _refused(error) from error


def _refused(error: ValidationError) -> Problem:
    items = [
        error_item("body", *one["loc"], msg=one["msg"], type=one["type"])
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    if items[0]["type"] == "json_invalid":
        return Problem(400, f"The request body is not well-formed JSON: {items[0]['msg']}.", errors=items)
    return invalid(items)
