"""Entities that belong together: checked against each other, and in the order in which they depend on each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256

from ingestion_assets.entities.definition import Entity, EntityField, Reference


class DefinitionError(Exception):
    """Entities that do not fit together; `entity` and `where` (a path of keys and indexes) say which part."""

    def __init__(self, text: str, *, entity: str, where: Sequence[str | int] = ()) -> None:
        super().__init__(text)
        self.entity = entity
        self.where = tuple(where)


@dataclass(frozen=True)
class EntitySet:
    """Entities that belong together, checked against each other. Referenced entities come first."""

    entities: tuple[Entity, ...]

    @classmethod
    def of(cls, entities: Sequence[Entity]) -> "EntitySet":
        """Check and order them. Raises `DefinitionError`."""
        by_name: dict[str, Entity] = {}
        assets: dict[str, str] = dict.fromkeys(("raw_batches", "ingestion_log"), "the flow itself")
        for attribute in ("entity", "prefix", "table"):
            seen: dict[str, Entity] = {}
            for one in entities:
                other = seen.setdefault(getattr(one, attribute), one)
                if other is not one:
                    raise DefinitionError(
                        f"{attribute} {getattr(one, attribute)} is taken by {other.entity} already",
                        entity=one.entity,
                        where=(attribute,),
                    )
            by_name = seen if attribute == "entity" else by_name
        for one in entities:
            if (other := assets.setdefault(one.asset_name, one.entity)) != one.entity:
                raise DefinitionError(
                    f"its asset would be called {one.asset_name}, a name that is taken by {other} already",
                    entity=one.entity,
                    where=("entity",),
                )
            for index, reference in enumerate(one.references):
                _check_reference(one, reference, by_name, where=("references", index))
        return cls(_ordered(by_name))

    @cached_property
    def by_prefix(self) -> Mapping[str, Entity]:
        return {one.prefix: one for one in self.entities}

    @cached_property
    def by_name(self) -> Mapping[str, Entity]:
        return {one.entity: one for one in self.entities}

    @cached_property
    def version(self) -> str:
        """The same for the same definitions."""
        return sha256("".join(one.version for one in self.entities).encode()).hexdigest()[:16]

    @cached_property
    def groups(self) -> tuple[tuple[Entity, ...], ...]:
        """Entities in dependency order; those that reference each other in a circle stand together."""
        return _circles(self.entities)

    def in_circle(self, entity: Entity, reference: Reference) -> bool:
        """Whether the referenced entity references this one too, over other entities."""
        return reference.entity != entity.entity and any(
            entity in group and self.by_name[reference.entity] in group for group in self.groups
        )


def _check_reference(
    one: Entity, reference: Reference, by_name: Mapping[str, Entity], *, where: Sequence[str | int]
) -> None:
    target = by_name.get(reference.entity)
    if target is None:
        raise DefinitionError(
            f"there is no entity {reference.entity}", entity=one.entity, where=(*where, "entity")
        )
    if len(reference.fields) != len(target.primary_key):
        raise DefinitionError(
            f"{reference.entity} has a primary key of {len(target.primary_key)} fields, not {len(reference.fields)}",
            entity=one.entity,
            where=(*where, "fields"),
        )
    for name, key in zip(reference.fields, target.primary_key, strict=True):
        mine, theirs = _family(one.field(name)), _family(target.field(key))
        if mine != theirs:
            raise DefinitionError(
                f"{name} is a {mine}, but {reference.entity}.{key} is a {theirs}",
                entity=one.entity,
                where=(*where, "fields"),
            )


def _family(field: EntityField) -> str:
    return {
        "smallint": "whole number",
        "integer": "whole number",
        "bigint": "whole number",
        "string": "text",
    }.get(field.type, field.type)


def _targets(one: Entity) -> set[str]:
    return {reference.entity for reference in one.references} - {one.entity}


def _circles(entities: Sequence[Entity]) -> tuple[tuple[Entity, ...], ...]:
    reach = {one.entity: _targets(one) for one in entities}
    for _ in entities:
        for name, found in reach.items():
            reach[name] = found.union(*(reach[other] for other in found))
    groups: dict[str, tuple[Entity, ...]] = {}
    for one in entities:
        members = tuple(
            other
            for other in entities
            if other is one or (other.entity in reach[one.entity] and one.entity in reach[other.entity])
        )
        groups.setdefault(members[0].entity, members)
    owner = {member.entity: name for name, members in groups.items() for member in members}
    graph = {
        name: {owner[target] for member in members for target in _targets(member)} - {name}
        for name, members in groups.items()
    }
    return tuple(groups[name] for name in _sorted(graph))


def _sorted(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        return list(TopologicalSorter({name: sorted(graph[name]) for name in sorted(graph)}).static_order())
    except CycleError as error:  # pragma: no cover - circles are one node here
        raise AssertionError("circles were not joined") from error


def _ordered(by_name: Mapping[str, Entity]) -> tuple[Entity, ...]:
    entities = [by_name[name] for name in sorted(by_name)]
    return tuple(member for group in _circles(entities) for member in group)
