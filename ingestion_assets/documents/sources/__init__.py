"""Where files of documents come from: what a source offers, and how a file's bytes are fetched. Knows no jobs and no HTTP."""
