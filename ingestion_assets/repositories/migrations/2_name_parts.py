"""Names of symbols are found by what begins in them at a word: `line` and `linenum` in `readLineNumber`, `read_line_number`."""

from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    # A name from each of its words on, so that a prefix of one of these is a part of the name. No extension has to be there for it.
    op.execute(r"""
        CREATE FUNCTION repositories.name_parts(name text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
            SELECT coalesce(array_to_tsvector(array_agg(DISTINCT lower(array_to_string(words[number:], '')))), ''::tsvector)
            FROM regexp_split_to_array(
                left(name, 200),
                '(?<=[[:lower:][:digit:]])(?=[[:upper:]])|(?<=[[:upper:]])(?=[[:upper:]][[:lower:]])|(?<=[^[:alnum:]])(?=[[:alnum:]])'
            ) words, generate_subscripts(words, 1) number
            WHERE array_to_string(words[number:], '') <> ''
        $$
    """)
    op.execute(
        "CREATE INDEX symbols_name_parts ON repositories.symbols USING gin (repositories.name_parts(name))"
    )


def downgrade() -> None:
    op.execute("DROP INDEX repositories.symbols_name_parts")
    op.execute("DROP FUNCTION repositories.name_parts")
