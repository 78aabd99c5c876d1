"""Made-up transcripts for demos, tests and benchmarks: which sessions there are, and the files they lie in.

Modelled on a census of real transcripts: several projects (a Windows one too), CLI versions, forks that
repeat uuids under a new session id, sub-agents, summaries that lie in another session's file, two objects on
one line, files without a final newline. The same arguments give the same bytes.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from ingestion_assets.samples.transcript_lines import ERAS, Line, Session

DEFAULT_END = "2026-03-01"
DAYS = 14
_FOLDERS = (
    "/Users/dev/projects/atlas",
    "/Users/dev/projects/atlas/services/api",
    "/home/dev/work/cli",
    "C:\\Users\\dev\\projects\\shop",
    "/Users/dev/projects/notes.app",
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One file: its path under `projects`, its session, its lines as objects."""

    path: str
    session_id: str
    lines: list[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What `write_transcripts` wrote."""

    sessions: int
    files: int
    lines: int
    size_bytes: int


def transcripts(*, sessions: int, lines: int, seed: int, end: str | None = None) -> Iterator[Transcript]:
    """At least `lines` lines in exactly `sessions` sessions, of the two weeks up to `end` (YYYY-MM-DD)."""
    rng = random.Random(seed)  # noqa: S311
    last_day = datetime.combine(datetime.fromisoformat(end or DEFAULT_END).date(), time(8), UTC)
    made: list[Session] = []
    remaining = lines
    for number in range(sessions):
        share = -(-remaining // (sessions - number))
        wanted = max(1, share if number == sessions - 1 else int(share * rng.uniform(0.4, 1.6)))
        session = _session(rng, number=number, last_day=last_day, earlier=made)
        while _size(session) < wanted:
            session.turn()
        remaining = max(0, remaining - _size(session))
        made.append(session)
        yield from _files(session)


def messages(*, lines: int, seed: int, sessions: int | None = None, end: str | None = None) -> Iterator[Line]:
    """Exactly `lines` message objects for a benchmark, every one with a `sessionId`; 500 lines a session
    unless told.
    """
    count = sessions or max(1, lines // 500)
    left = lines
    for transcript in transcripts(sessions=count, lines=lines, seed=seed, end=end):
        for line in transcript.lines[:left]:
            yield line if "sessionId" in line else line | {"sessionId": transcript.session_id}
        left -= min(left, len(transcript.lines))
        if not left:
            return


def write_transcripts(
    folder: Path, *, sessions: int, lines: int, seed: int, end: str | None = None
) -> Written:
    """Write `projects/<folder>/<session>.jsonl` and `todos/` under `folder`, as Claude Code lays them out."""
    rng = random.Random(f"{seed} files")  # noqa: S311
    files = written = size = 0
    shared = False
    (folder / "todos").mkdir(parents=True, exist_ok=True)
    for number, transcript in enumerate(transcripts(sessions=sessions, lines=lines, seed=seed, end=end)):
        path = folder / "projects" / transcript.path
        path.parent.mkdir(parents=True, exist_ok=True)
        separators = ["\n"] * (len(transcript.lines) - 1)
        if number >= 2 and len(separators) > 20 and not shared:
            separators[len(separators) // 2], shared = "", True  # two objects on one line
        separators.append("" if rng.random() < 0.7 else "\n")
        content = "".join(
            part
            for line, separator in zip(transcript.lines, separators, strict=True)
            for part in (_encode(line), separator)
        ).encode()
        path.write_bytes(content)
        files, written, size = files + 1, written + len(transcript.lines), size + len(content)
        _write_todos(folder / "todos", transcript)
    return Written(sessions=sessions, files=files, lines=written, size_bytes=size)


def _session(rng: random.Random, *, number: int, last_day: datetime, earlier: list[Session]) -> Session:
    session = Session(
        rng=rng,
        id="",
        cwd=_FOLDERS[number % len(_FOLDERS)],
        era=ERAS[number % len(ERAS)] if number < 2 * len(ERAS) else ERAS[rng.choice((2, 2, 2, 3, 3, 1))],
        clock=last_day - timedelta(days=rng.randrange(DAYS), minutes=rng.randrange(600)),
    )
    session.id = session.new_id()
    same_project = [other for other in earlier if other.cwd == session.cwd and other.leaf]
    if same_project and number % 3 == 1:
        other = rng.choice(same_project)
        session.lines.append({"type": "summary", "summary": session.text(20, 60), "leafUuid": other.leaf})
    if same_project and number % 10 == 6:
        _fork(session, same_project[-1])
    if number % 8 == 7:
        session.cwd += "\\worktree" if "\\" in session.cwd else "/worktree"
    return session


def _fork(session: Session, origin: Session) -> None:
    """The history of the origin, with the same uuids, under a new session id."""
    history = origin.lines[: max(1, len(origin.lines) // 4)]
    session.lines += [line | {"sessionId": session.id} if "sessionId" in line else line for line in history]
    session.leaf = next((line["uuid"] for line in reversed(history) if "uuid" in line), None)
    session.clock, session.era, session.version = origin.clock, origin.era, origin.version


def _size(session: Session) -> int:
    return len(session.lines) + sum(map(len, session.subagents.values()))


def _files(session: Session) -> Iterator[Transcript]:
    folder = re.sub(r"[^A-Za-z0-9]", "-", session.cwd)
    yield Transcript(path=f"{folder}/{session.id}.jsonl", session_id=session.id, lines=session.lines)
    for agent, lines in session.subagents.items():
        path = f"{folder}/{session.id}/subagents/agent-{agent}.jsonl"
        yield Transcript(path=path, session_id=session.id, lines=lines)


def _write_todos(folder: Path, transcript: Transcript) -> None:
    items = None
    for line in transcript.lines:
        if line["type"] == "assistant":
            block = line["message"]["content"][0]
            if block.get("name") == "TodoWrite":
                items = block["input"]["todos"]
    if items is not None:
        name = f"{transcript.session_id}-agent-{transcript.session_id}.json"
        (folder / name).write_text(json.dumps(items, indent=2), encoding="utf-8")
