"""JavaScript and TypeScript: relative paths, aliases of `tsconfig`, packages of the workspace."""

from collections.abc import Iterator

from ingestion_assets.repositories.resolution import node_packages, tsconfig
from ingestion_assets.repositories.resolution.links import Files, Link, Manifests
from ingestion_assets.repositories.resolution.tree import encoded, folder, joined, name
from ingestion_assets.repositories.source_facts import Import

_ENDINGS = (
    b".ts",
    b".tsx",
    b".d.ts",
    b".mts",
    b".cts",
    b".js",
    b".jsx",
    b".mjs",
    b".cjs",
    b".d.mts",
    b".d.cts",
)
# TypeScript writes the ending of what it compiles to.
_WRITTEN = {
    b".js": (b".ts", b".tsx", b".d.ts", b".jsx"),
    b".jsx": (b".tsx",),
    b".mjs": (b".mts", b".d.mts"),
    b".cjs": (b".cts", b".d.cts"),
}
_ASSETS = frozenset(
    b"css scss sass less styl json json5 svg png jpg jpeg gif webp avif ico woff woff2 ttf eot mp3 mp4 webm wasm html htm txt md mdx "
    b"graphql gql yaml yml toml xml csv glsl vert frag wgsl node vue svelte astro".split()
)


def module(files: Files, base: bytes) -> bytes | None:
    """The file that a path without or with its ending means, the way bundlers and TypeScript look for it."""
    if base in files:
        return base
    stem, dot, ending = base.rpartition(b".")
    for other in _WRITTEN.get(dot + ending, ()):
        if stem + other in files:
            return stem + other
    for other in _ENDINGS:
        if base + other in files:
            return base + other
    for other in _ENDINGS:
        index = base + b"/index" + other if base else b"index" + other
        if index in files:
            return index
    return None


def links(files: Files, manifests: Manifests) -> Iterator[Link]:
    """A link for each import."""
    packages = node_packages.known(manifests)
    configurations = tsconfig.known(manifests, packages)
    seen: dict[tuple[bytes, str], tuple[str, bytes | None]] = {}
    for path, parsed in files.items():
        for one in parsed.imports:
            key = folder(path), one.target
            if key not in seen:
                seen[key] = _found(files, packages, configurations, *key)
            origin, target = seen[key]
            yield Link(path, origin, ((target, _names(one, target)),) if target else ())


def _names(one: Import, target: bytes) -> tuple[str, ...]:
    """What is taken by name. A default has another name wherever it goes; one that is exported again mostly has that of its file."""
    if one.kind != "export":
        return tuple(each for each in one.names if each != "default")
    stem = name(target).partition(b".")[0]
    default = (name(folder(target)) if stem == b"index" else stem).decode("utf-8", "replace")
    return tuple(default if each == "default" else each for each in one.names) or ("*",)


def _found(
    files: Files,
    packages: node_packages.Packages,
    configurations: tsconfig.Configurations,
    base: bytes,
    target: str,
) -> tuple[str, bytes | None]:
    wanted = encoded(target).partition(b"?")[0]
    if wanted.startswith(b"."):
        place = joined(base, wanted)
        found = None if place is None else module(files, place) or _main(files, packages, place)
        return ("asset" if found is None and _is_asset(wanted) else "relative"), found
    aliased, places = tsconfig.places(configurations, base, wanted)
    for place in places:
        found = module(files, place) or _main(files, packages, place)
        if found:
            return "alias", found
    for place in node_packages.places(packages, base, wanted):
        found = module(files, place)
        if found:
            return "package", found
    return ("alias" if aliased or wanted.startswith(b"#") else "package"), None


def _main(files: Files, packages: node_packages.Packages, place: bytes) -> bytes | None:
    """The entry of a folder that has a package.json."""
    package = packages.by_folder.get(place)
    if package is None:
        return None
    return next((found for one in node_packages.entries(package, b"") if (found := module(files, one))), None)


def _is_asset(wanted: bytes) -> bool:
    return name(wanted).rpartition(b".")[2].lower() in _ASSETS
