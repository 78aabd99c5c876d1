"""Why a stack does not start, as a sentence that says what to do; known by the exception or by the end of a log."""

import errno
from collections.abc import Sequence
from pathlib import Path

import yaml

_FULL = "the disk is full: make room, then start again"
_CLOSED = "this user may not use it: give it the right, or set INGESTION_HOME to another folder"
_BY_NUMBER = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the quota is used up: make room, then start again",
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EROFS: "the file system is read-only: set INGESTION_HOME to a folder on another",
    errno.ENOTDIR: "a file stands where a folder should be: set INGESTION_HOME to another folder",
    errno.EEXIST: "a file stands where a folder should be: set INGESTION_HOME to another folder",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`)",
    errno.ENOMEM: "there is too little memory: end other programs, then start again",
}
# What PostgreSQL, Valkey and the MongoDB server write, each in its own words, before they end.
_BY_WORDS = (
    ("no space left on device", _FULL),
    ("address already in use", "another program took its port in this moment: start again, it gets another"),
    ("read-only file system", _BY_NUMBER[errno.EROFS]),
    ("permission denied", _CLOSED),
    ("cannot allocate memory", _BY_NUMBER[errno.ENOMEM]),
    (
        "database files are incompatible",
        "the data is of another release: set INGESTION_HOME to another folder",
    ),
    ("setresuid failed", "root may not change to another user here: start it as an ordinary user"),
)


def explained(error: BaseException) -> str:
    """`error` as a sentence."""
    if isinstance(error, OSError) and error.errno is not None:
        told = _BY_NUMBER.get(error.errno)
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{told or error.strerror}"
    text = str(error) or type(error).__name__
    told = advice([text])
    return f"{text} ({told})" if told else text


def not_yaml(path: Path, error: yaml.YAMLError) -> str:
    """Where `path` is not YAML, without the text that stands there."""
    mark = getattr(error, "problem_mark", None)
    line = f" at line {mark.line + 1}" if mark else ""
    return f"{path} is not YAML{line}: correct it, or remove it and get the one that ships"


def advice(lines: Sequence[str]) -> str | None:
    """What to do, by the last line of a log that names a known reason."""
    for line in reversed(lines):
        for words, told in _BY_WORDS:
            if words in line.lower():
                return told
    return None


def log_end(text: str, path: Path, lines: Sequence[str]) -> str:
    """`text`, with advice and the end of the log `path`."""
    told = advice(lines)
    begin = f"{text}: {told}" if told else text
    if not lines:
        return f"{begin}; it wrote nothing to {path}"
    return "\n".join([f"{begin}. The end of {path}:", *lines])
