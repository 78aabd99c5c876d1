"""Java and Kotlin: an index of packages and the classes they declare; also members of classes, and whole packages."""

from collections.abc import Iterator

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests
from ingestion_assets.repositories.resolution.namespaces import declared


def links(files: Files, _manifests: Manifests) -> Iterator[Link]:
    """A link for each import. An import of this repository's own packages counts as `relative`."""
    names = declared(files, ".")
    for path, parsed in files.items():
        for one in parsed.imports:
            parts = one.target.removesuffix(".*").split(".")
            whole = one.target.endswith(".*") or "*" in one.names
            namespace = ".".join(parts)
            if whole and namespace in names.by_namespace:
                found = names.used(parsed, path, namespace)
                yield Link(path, "relative", found)
                continue
            origin = "package"
            for end in range(len(parts) - 1, max(len(parts) - 5, 0), -1):  # a.b.Outer.Inner.member
                namespace = ".".join(parts[:end])
                if namespace not in names.by_namespace:
                    continue
                origin = "relative"
                file = names.file(path, namespace, parts[end])
                if file:
                    yield Link(path, origin, ((file, (parts[end],)),))
                    break
            else:
                yield Link(path, origin if "." in one.target else "package")
