"""Where the records of a zone are stored: PostgreSQL, MongoDB, DuckDB, or Parquet files; each by the same law (`target`)."""
