"""Types of columns in PostgreSQL. Without a database, as the definitions in Dagster name them too."""

from ingestion_assets.entities.definition import EntityField


def column_type(field: EntityField) -> str:
    """The field's type as PostgreSQL itself writes it."""
    match field.type:
        case "string":
            return f"character varying({field.length})"
        case "decimal":
            return f"numeric({field.precision},{field.scale})"
        case "timestamp":
            return "timestamp with time zone"
        case other:
            return other
