"""Query parameters: an address takes those that it documents, each once; anything else is 422 and says which there are.

A misspelt filter that is passed over answers with everything, a misspelt `atomic` with half: neither is told from success.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from urllib.parse import parse_qsl

from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from ingestion_assets.frontdoor.problems import Problem, error_item

LONGEST = 100  # characters of a name that an answer repeats
LISTED = 20  # names that it lists
MOST = 200  # parameters that are read; no address has as many

_known: dict[object, frozenset[str]] = {}  # by endpoint


async def known_parameters(request: HTTPConnection) -> None:
    """A dependency of every route: raises `Problem` 422 for parameters that the route's endpoint does not have."""
    check_parameters(request.scope["query_string"], _parameters_of(request.scope["route"]))


def check_parameters(query: bytes, known: Collection[str]) -> None:
    """Raises `Problem` 422 unless every parameter of `query` is one of `known`, and is there once."""
    if not query:
        return
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST)
    except ValueError:
        raise Problem(422, f"A request has {MOST} query parameters at most.") from None
    given = Counter(name for name, _ in pairs)
    unknown = sorted(given.keys() - set(known))
    repeated = sorted(name for name, times in given.items() if times > 1 and name in known)
    if not unknown and not repeated:
        return
    there_are = f"known: {', '.join(sorted(known))}" if known else "this address takes none"
    items = [_item(name, f"not a parameter; {there_are}", "unknown_parameter") for name in unknown]
    items += [_item(name, "given more than once", "repeated_parameter") for name in repeated]
    raise Problem(422, f"{_sentence(unknown, repeated)} ({there_are}).", errors=items[:LISTED])


def _item(name: str, message: str, code: str) -> dict[str, object]:
    return error_item("query", name[:LONGEST], msg=message, type=code)


def _sentence(unknown: Sequence[str], repeated: Sequence[str]) -> str:
    names = ", ".join(name[:LONGEST] for name in (unknown or repeated)[:5])
    if unknown:
        return f"There is no query parameter {names}"
    return f"A query parameter may be given once: {names}"


def _parameters_of(route: APIRoute) -> frozenset[str]:
    known = _known.get(route.endpoint)
    if known is None:
        fields = get_flat_params(route.dependant)
        known = frozenset(field.alias for field in fields if isinstance(field.field_info, Query))
        _known[route.endpoint] = known
    return known
