"""All that is stored of repositories, to be compared."""

import sqlalchemy as sa

_TABLES = {
    "snapshots": "SELECT commit, tree, branch, text_model, structure_model, facts FROM repositories.snapshots",
    "files": "SELECT path, blob, size, language, state, reason, measure, stable::text, trained::text FROM repositories.files",
    "symbols": "SELECT path, name, kind, start_line, end_line FROM repositories.symbols",
    "edges": "SELECT source, target, kind, weight, names FROM repositories.edges",
    "parsed": "SELECT blob, language, version, facts FROM repositories.parsed",
    "chunks": "SELECT blob, language, model, number, start_line, end_line, text, embedding::text FROM repositories.chunks",
}


def tables(engine: sa.Engine) -> dict[str, list[str]]:
    """Rows by table, but for numbers that depend on how often something was done."""
    with engine.connect() as connection:
        return {
            name: sorted(map(repr, connection.execute(sa.text(query)).all()))
            for name, query in _TABLES.items()
        }
