"""What migrations do with rows that are there."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

import sqlalchemy as sa

from ingestion_assets.stores import postgres
from ingestion_assets_tests.documents.stored import store

CONNECTION = sa.text("""
    INSERT INTO documents.connections (id, user_id, source_type, name, sealed, sync_token, sync_options)
    VALUES (:id, 'user', 'google_drive', 'n', '', 'token', CAST(:options AS jsonb))
""")


def test_what_was_stored_of_a_deleted_connection_leaves_the_search_and_options_are_looked_at(
    fresh_postgres_url: str, tmp_path: Path
) -> None:
    with as_file(files("ingestion_assets.documents") / "migrations") as revisions:
        for name in ("1_documents.py", "2_connections.py", "3_sync_passwords.py"):
            shutil.copy(revisions / name, tmp_path)
        postgres.migrate_flow("documents", tmp_path, url=fresh_postgres_url)
        engine = postgres.engine(fresh_postgres_url)
        options = {
            "none": "{}", "empty": '{"source_specific_options": {}}', "own": '{"source_specific_options": {"exclude": ["x"]}}',
        }  # fmt: skip
        with engine.begin() as connection:
            for id_, said in options.items():
                connection.execute(CONNECTION, {"id": id_, "options": said})
        for id_ in ("own", "gone"):
            store(engine, "user", f"{id_}.txt", ["A text."], connection_id=id_, embedded=False)
        postgres.migrate_flow("documents", revisions, url=fresh_postgres_url)
    with engine.connect() as connection:
        found = connection.scalars(
            sa.text("SELECT file_id FROM documents.documents WHERE removed_at IS NULL")
        ).all()
        tokens = connection.execute(sa.text("SELECT id, sync_token FROM documents.connections")).all()
    engine.dispose()
    assert found == ["own.txt"]
    assert {row.id: row.sync_token for row in tokens} == {"none": "token", "empty": "token", "own": None}
