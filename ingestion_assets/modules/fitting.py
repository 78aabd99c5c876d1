"""Making what a file says of a module fit the API: what is too long is cut, what cannot be stored is left out, and each is said. Pure.

So one odd entry never costs a site its inventory. What names a module or says what runs (`machine_name`, `version`, `type`, `status`)
is never altered: an entry in which one of these is wrong is no module of the inventory.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ingestion_assets.modules.schema import MAX_TEXT, MAX_WORDS, ModuleInfo, is_project

_IDENTITY = {"machine_name", "version", "type", "status"}
_WORDS = {"core_compatibility", "dependencies"}


class MisfitError(ValueError):
    """The entry can be no module of an inventory; says why."""


def fit(entry: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The module that the API takes for `entry`, and what was changed for that. Raises `MisfitError`."""
    module, changes = dict(entry), []
    if "machine_name" in module and not module.get("name"):
        module["name"] = module["machine_name"]
    # A text that cannot be stored may also be too long, so what was mended is looked at again; what still is not right then goes.
    for mend in (_mend, _mend, _leave_out):
        errors = _errors(module)
        if not errors:
            break
        for field, error in errors.items():
            if field in _IDENTITY:
                raise MisfitError(_reason(field, module.get(field), error))
            changes.append(mend(module, field, error))
    return module, changes


def _errors(module: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What is wrong with a module, by field: halves of characters, which JSON can write, or else the first that the API says."""
    errors: dict[str, Mapping[str, Any]] = {}
    try:
        ModuleInfo.model_validate(module)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        errors = {str(one["loc"][0]): one for one in reversed(found)}
    torn = {"type": "torn", "msg": "it holds characters that cannot be stored"}
    return errors | {field: torn for field in ModuleInfo.model_fields if _is_torn(module.get(field))}


def _is_torn(value: object) -> bool:
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(one, str) and one != _storable(one) for one in texts)


def _mend(module: dict[str, Any], field: str, error: Mapping[str, Any]) -> str:
    value = module.get(field)
    if field in _WORDS and isinstance(value, list):
        module[field] = [_storable(one)[:MAX_TEXT] for one in value if isinstance(one, str)][:MAX_WORDS]
        return f"`{field}` is cut to what can be stored"
    if field != "project" and isinstance(value, str):
        if error["type"] in {"string_too_long", "too_long"}:
            module[field] = value[: error["ctx"]["max_length"]]
            return f"`{field}` is cut to {error['ctx']['max_length']} characters"
        if value != _storable(value):
            module[field] = _storable(value)
            return f"`{field}` holds characters that cannot be stored; it is sent without them"
    return _leave_out(module, field, error)


def _leave_out(module: dict[str, Any], field: str, error: Mapping[str, Any]) -> str:
    value = module.pop(field, None)
    if field == "name":
        module["name"] = module["machine_name"]
        return "`name` cannot be stored; the machine name is sent for it"
    if field == "project":
        if module.get("type") == "contrib" and is_project(str(module["machine_name"])):
            module["type"] = "custom"  # else it would be judged by a project that happens to have its name
        return f"`project` is left out: {_shown(value)} is the name of no project on drupal.org"
    return f"`{field}` is left out: {error['msg']}"


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _reason(field: str, value: object, error: Mapping[str, Any]) -> str:
    if value is None:
        return f"has no {field}"
    return f"its {field} {_shown(value)} cannot be sent: {error['msg']}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…"
