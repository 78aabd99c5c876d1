"""From a file's bytes to its text: in child processes that may fail without harm."""
