"""Sample transcripts are what they say they are: the same for a seed, and with everything real ones hold."""

import json
from collections import Counter, defaultdict
from pathlib import Path

from ingestion_assets.samples.transcripts import messages, transcripts, write_transcripts

KINDS = {
    "assistant", "user", "system", "progress", "attachment", "summary", "file-history-snapshot",
    "file-history-delta", "queue-operation", "pr-link", "last-prompt", "mode", "permission-mode", "atis-latch",
    "ai-title", "custom-title", "agent-name", "bridge-session", "cost-state", "frame-link",
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_seed_gives_the_same_files_and_another_one_others(tmp_path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_transcripts(tmp_path / name, sessions=5, lines=300, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not set(contents(tmp_path / "a")) & set(contents(tmp_path / "c"))


def test_every_kind_of_line_and_every_oddity_is_there() -> None:
    files = list(transcripts(sessions=24, lines=6000, seed=1))
    lines = [line for file in files for line in file.lines]
    assert len(lines) >= 6000
    assert len({file.session_id for file in files}) == 24
    assert {line["type"] for line in lines} >= KINDS
    assert {type(line["toolUseResult"]) for line in lines if "toolUseResult" in line} == {dict, list, str}
    assert any("\\" in line.get("cwd", "") for line in lines)
    assert any("costUSD" in line for line in lines)
    assert any(line.get("isSidechain") for line in lines)
    assert any("subagents" in file.path for file in files)
    sessions_by_uuid = defaultdict(set)
    for line in lines:
        if "uuid" in line:
            sessions_by_uuid[line["uuid"]].add(line["sessionId"])
    assert any(len(sessions) == 2 for sessions in sessions_by_uuid.values()), "a fork repeats uuids"
    usages = defaultdict(list)
    for line in lines:
        if line["type"] == "assistant":
            usages[line["sessionId"], line["message"]["id"]].append(line["message"]["usage"]["output_tokens"])
    assert any(len(set(growing)) > 1 and growing == sorted(growing) for growing in usages.values())
    leaves = {line["leafUuid"] for line in lines if line["type"] == "summary"}
    assert leaves & set(sessions_by_uuid)


def test_identity_is_unique_within_a_session() -> None:
    found = Counter(
        (line["sessionId"], line["uuid"]) for line in messages(lines=4000, seed=9) if "uuid" in line
    )
    assert max(found.values()) == 1


def test_messages_for_benchmarks_are_as_many_as_asked_and_name_their_session() -> None:
    made = list(messages(lines=1234, seed=3))
    assert len(made) == 1234
    assert all(isinstance(line["sessionId"], str) for line in made)
    assert json.dumps(made) == json.dumps(list(messages(lines=1234, seed=3)))
