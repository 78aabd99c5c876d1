"""A drop zone whose records go to a function: `@drop_zone` above it, in a `dg` project's `defs` or anywhere else."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ingestion_assets.zones.batch import Batch, Function
from ingestion_assets.zones.record_types import record_type
from ingestion_assets.zones.wording import Verify, duration_of, partitions_of
from ingestion_assets.zones.zone import Zone

if TYPE_CHECKING:
    import dagster as dg

_LOADER = "__dagster_component_loader_fn"
"""By which Dagster finds components that a module makes in Python; what `dagster.component_instance` sets."""


class FunctionZone:
    """What `@drop_zone` makes of a function, which can be called as before. Dagster finds it in a module of `defs`; elsewhere,
    merge its `definitions()` into yours."""

    def __init__(self, zone: Zone, function: Function) -> None:
        self.zone = zone
        self.function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        setattr(self, _LOADER, True)

    def __call__(self, given: Any) -> Any:
        if isinstance(given, Batch):
            return self.function(given)
        from ingestion_assets.zones.component import LoadedZone  # noqa: PLC0415 - Dagster asks for it

        return LoadedZone(zone=self.zone)

    def definitions(self) -> "dg.Definitions":
        """The zone's assets, checks, job, sensor and audit."""
        from ingestion_assets.zones.zone_assets import zone_definitions  # noqa: PLC0415

        return zone_definitions(self.zone)


def drop_zone(
    *,
    name: str,
    records: object,
    key: str | Sequence[str] = (),
    at: str = "$",
    partitions: object = None,
    verify: Verify | None = None,
    reject_rate: float = 0.05,
    fresh_within: str | float | None = None,
    owners: Sequence[str] = (),
    sources: Sequence[dict[str, Any]] = (),
    kind: str = "python",
) -> Callable[[Function], FunctionZone]:
    """Hand the records of a drop zone to the function below: `POST /api/v1/drops/{name}`, assets `{name}/{function}`.

    `records` is a pydantic model, a msgspec Struct, or the path of a JSON Schema file. With `key`, the field or fields that name a
    record, each is handed over once; without, whenever it is sent. `at` is the JSONPath where records lie in a payload. `partitions` are
    days, `None` or Dagster's daily partitions, or a `By` for those by a value. The function is called with a `Batch` and may say what became
    of single records; those it says nothing of are stored. What it raises is tried again, payload by payload where it goes on. Raises `ZoneError`, `RecordTypeError`.
    """

    def decorate(function: Function) -> FunctionZone:
        verifying = verify or Verify.none()
        zone = Zone(
            name=name,
            records=record_type(records),
            asset=function.__name__,
            function=function,
            kind=kind,
            path=at,
            key=(key,) if isinstance(key, str) else tuple(key),
            verify=verifying.config,
            secrets=verifying.secrets,
            partitions=partitions_of(partitions),
            reject_rate=reject_rate,
            fresh_within_s=None if fresh_within is None else duration_of(fresh_within),
            owners=owners,
            sources=sources,
            description=function.__doc__,
        )
        return FunctionZone(zone, function)

    return decorate
