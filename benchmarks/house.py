"""Figures of the code itself: its size, how deep imports go, what it uses of other libraries' private parts.

They say nothing of speed; run it before and after a rebuild: `python benchmarks/house.py [FOLDER]`, with a folder that holds another
checkout's `ingestion_assets` to compare.
"""

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "ingestion_assets"
LONG = 300  # lines
MIGRATIONS = "migrations/versions"
LIBRARIES = ("dagster", "celery", "kombu", "billiard", "uvicorn", "websockets")
COMMON = {"__init__.py", "cli.py"}


def main(folder: Path) -> None:
    """Print the figures of the package in a folder."""
    files = [path for path in sorted((folder / PACKAGE).rglob("*.py")) if MIGRATIONS not in path.as_posix()]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    chain = _longest_chain({_module(folder, path): tree for path, tree in trees.items()})
    private = {path: found for path, tree in trees.items() if (found := list(_private_imports(tree)))}
    rooms = defaultdict(set)
    for path in files:
        rooms[path.name].add(path.parent)
    flows = frozenset(rooms["flow.py"])
    # A name that every flow has is a convention: it counts only where it also stands in several places beside them.
    places_of = {name: places - flows if places >= flows else places for name, places in rooms.items()}
    twice = sorted(name for name, places in places_of.items() if len(places) > 1 and name not in COMMON)
    long = sorted((path for path in files if lines[path] > LONG), key=lambda path: -lines[path])

    print(f"product lines, migrations left out  {sum(lines.values()):,} in {len(files)} modules")
    print(f"modules over {LONG} lines               {len(long)}: {', '.join(path.stem for path in long)}")
    print(f"longest import chain                {len(chain)}: {' > '.join(chain)}")
    per_library = Counter(library for found in private.values() for library in set(found))
    print(
        f"private imports                     {sum(map(len, private.values()))} lines in {len(private)} modules: "
        + ", ".join(f"{library} in {number}" for library, number in sorted(per_library.items()))
    )
    print(f"file names in two rooms             {len(twice)}: {', '.join(twice)}")


def _module(folder: Path, path: Path) -> str:
    name = ".".join(path.relative_to(folder).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _imports(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """What is imported when the module is: its name, and names taken from it."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]


def _private_imports(tree: ast.Module) -> Iterator[str]:
    """The library of each import of a private module or name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            library, *rest = node.module.split(".")
            names = [*rest, *(alias.name for alias in node.names)]
            if library in LIBRARIES and any(name.startswith("_") for name in names):
                yield library


def _longest_chain(trees: dict[str, ast.Module]) -> list[str]:
    """The longest way from importer to imported, by names without the package's."""
    arrows = {
        module: {
            target
            for base, names in _imports(tree)
            for target in ({f"{base}.{name}" for name in names} | {base})
            if target in trees and target not in {module, PACKAGE}
        }
        for module, tree in trees.items()
    }

    @cache
    def longest(module: str) -> tuple[str, ...]:
        below = max((longest(target) for target in sorted(arrows[module])), key=len, default=())
        return (module, *below)

    chain = max((longest(module) for module in sorted(arrows)), key=len)
    return [module.removeprefix(f"{PACKAGE}.") for module in chain]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(__file__).parent.parent, help="a checkout; this one"
    )
    main(parser.parse_args().folder)
