"""C#: `using` names a namespace; it leads to the files that define what is used of it."""

from collections.abc import Iterator

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests
from ingestion_assets.repositories.resolution.namespaces import declared


def links(files: Files, _manifests: Manifests) -> Iterator[Link]:
    """A link for each `using`. Of a namespace of this repository it is `relative`."""
    names = declared(files, ".")
    for path, parsed in files.items():
        for one in parsed.imports:
            outer, _, last = one.target.rpartition(".")
            if one.target in names.by_namespace:
                yield Link(path, "relative", names.used(parsed, path, one.target))
            elif file := names.file(path, outer, last):  # using static, or an alias
                yield Link(path, "relative", ((file, (last,)),))
            else:
                yield Link(path, "package")
