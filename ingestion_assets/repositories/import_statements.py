"""From the node of an import statement to the facts of it, by language."""

import re
from collections.abc import Callable, Iterator

from tree_sitter import Node

from ingestion_assets.repositories.source_facts import Import


def imports(language: str, node: Node) -> Iterator[Import]:
    """What one statement, a node that the query of the language captures as `import`, imports; nothing where it is another call."""
    yield from _READERS[language](node, node.start_point[0] + 1)


def text(node: Node | None) -> str:
    """The source of a node."""
    return (node.text or b"").decode(errors="replace") if node is not None else ""


def _quoted(node: Node | None) -> str:
    return text(node)[1:-1]


def _python(node: Node, line: int) -> Iterator[Import]:
    names = tuple(
        text(name.child_by_field_name("name") or name) for name in node.children_by_field_name("name")
    )
    if node.type == "import_statement":
        yield from (Import("import", name, line=line) for name in names)
        return
    module = "".join(text(node.child_by_field_name("module_name")).split())
    target = module.lstrip(".")
    yield Import("from", target, names or ("*",), len(module) - len(target), line)


def _ecmascript(node: Node, line: int) -> Iterator[Import]:
    if node.type == "call_expression":
        called = text(node.child_by_field_name("function"))
        arguments = node.child_by_field_name("arguments")
        if called in {"require", "import"} and arguments is not None:
            kind = "require" if called == "require" else "dynamic"
            yield Import(kind, _quoted(arguments.named_child(0)), line=line)
        return
    source = node.child_by_field_name("source")
    kind = "export" if node.type == "export_statement" else "import"
    names: list[str] = []
    for clause in node.named_children:
        if clause.type == "import_require_clause":
            kind, source = "require", clause.child_by_field_name("source")
        elif clause.type == "import_clause":
            for part in clause.named_children:
                names += _specified(part) if part.type == "named_imports" else [_WHOLE.get(part.type, "*")]
        elif clause.type == "export_clause":
            names += _specified(clause)
    if source is not None:
        yield Import(kind, _quoted(source), tuple(names) or (("*",) if kind == "export" else ()), line=line)


_WHOLE = {"identifier": "default", "namespace_import": "*"}


def _specified(clause: Node) -> list[str]:
    return [
        text(name) for one in clause.named_children if (name := one.child_by_field_name("name")) is not None
    ]


def _go(node: Node, line: int) -> Iterator[Import]:
    yield Import("import", _quoted(node.child_by_field_name("path")), line=line)


def _rust(node: Node, line: int) -> Iterator[Import]:
    if node.type == "use_declaration":
        for path in _rust_paths(node.child_by_field_name("argument"), ""):
            yield Import("use", path, (path.rsplit("::", 1)[-1],), line=line)
    else:
        kind = "mod" if node.type == "mod_item" else "use"
        name = text(node.child_by_field_name("name"))
        yield Import(kind, name, (name,) if kind == "use" else (), line=line)


def _rust_paths(node: Node | None, prefix: str) -> Iterator[str]:
    if node is None or node.type.endswith("comment"):
        return
    if node.type == "use_list":
        for one in node.named_children:
            yield from _rust_paths(one, prefix)
    elif node.type == "scoped_use_list":
        path = text(node.child_by_field_name("path"))
        yield from _rust_paths(node.child_by_field_name("list"), f"{prefix}{path}::" if path else prefix)
    elif node.type == "use_as_clause":
        yield from _rust_paths(node.child_by_field_name("path"), prefix)
    elif node.type == "self" and prefix:
        yield prefix.removesuffix("::")
    else:
        yield prefix + "".join(text(node).split())


def _php(node: Node, line: int) -> Iterator[Import]:
    if node.type != "namespace_use_declaration":
        if found := re.search(r"""['"]([^'"]+)['"]""", text(node)):
            yield Import("require", found[1], line=line)
        return
    prefix = ""
    for part in node.named_children:
        if part.type == "namespace_name":
            prefix = f"{text(part)}\\"
        for clause in part.named_children if part.type == "namespace_use_group" else [part]:
            if clause.type == "namespace_use_clause":
                named = next(
                    (one for one in clause.named_children if one.type in {"qualified_name", "name"}), None
                )
                yield Import("use", prefix + text(named).lstrip("\\"), line=line)


def _dotted(node: Node, line: int) -> Iterator[Import]:
    names = [one for one in node.named_children if one.type in _DOTTED]
    if names:
        using = node.type == "using_directive"
        star = ".*" if text(node).rstrip("; \t\r\n").endswith("*") else ""
        yield Import("using" if using else "import", text(names[-1 if using else 0]) + star, line=line)


_DOTTED = {"identifier", "scoped_identifier", "qualified_identifier", "qualified_name"}


def _c(node: Node, line: int) -> Iterator[Import]:
    path = node.child_by_field_name("path")
    if path is not None and path.type in {"string_literal", "system_lib_string"}:
        yield Import("include", _quoted(path), level=int(path.type == "string_literal"), line=line)


def _ruby(node: Node, line: int) -> Iterator[Import]:
    called = text(node.child_by_field_name("method"))
    arguments = node.child_by_field_name("arguments")
    if called in {"require", "require_relative"} and arguments is not None:
        yield Import(called, _quoted(arguments.named_child(0)), line=line)


def _bash(node: Node, line: int) -> Iterator[Import]:
    if text(node.child_by_field_name("name")) in {"source", "."}:
        yield Import("source", text(node.child_by_field_name("argument")).strip("'\""), line=line)


_READERS: dict[str, Callable[[Node, int], Iterator[Import]]] = {
    "python": _python, "javascript": _ecmascript, "typescript": _ecmascript, "tsx": _ecmascript, "go": _go, "rust": _rust,
    "java": _dotted, "kotlin": _dotted, "csharp": _dotted, "php": _php, "c": _c, "cpp": _c, "ruby": _ruby, "bash": _bash,
}  # fmt: skip
