"""What PostgreSQL refuses: whose fault it is, and what may be said of it."""

import psycopg

_OUTAGE = ("08", "57P")
"""SQLSTATEs of connections and servers that end."""
_OF_THE_ROW = ("22", "23", "44", "54", "P0")
"""Classes of SQLSTATE: data, integrity, WITH CHECK OPTION, limits of the program, raised by a trigger."""


def is_outage(error: psycopg.Error) -> bool:
    """Whether a connection or the server ended: nothing was refused."""
    return error.sqlstate is None or error.sqlstate.startswith(_OUTAGE)


def is_refusal(error: psycopg.Error) -> bool:
    """Whether a row is at fault, not the server or the statement."""
    return (error.sqlstate or "").startswith(_OF_THE_ROW)


def refusal_of(error: psycopg.Error) -> str:
    """What PostgreSQL refused, by its names alone: its own sentence may quote values."""
    names = {"table": error.diag.table_name, "constraint": error.diag.constraint_name}
    said = [
        f"{type(error).__name__} ({error.sqlstate})",
        *(f"{kind} {name}" for kind, name in names.items() if name),
    ]
    return ", ".join(said)
