"""Makes up the lines of one session, of every kind and in the proportions counted in real transcripts.

What a line of a given CLI version looks like is here; which sessions there are and where their files lie is
in `synthetic`. All randomness comes from the generator handed in, so that the same seed gives the same bytes.
"""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

Line = dict[str, Any]

_PROSE = """the parser keeps each record whole and writes it once so a reader that starts late finds every
line where the index says it is while tests cover retries timeouts and the empty file as well as
naïve café 数据 🚀 <b>bold</b> `code` **note** def main(): return None if err != nil { return err } SELECT count(*)
FROM runs -- done"""
_WORDS = [*_PROSE.split(), "\n"]
_TOOLS = ("Bash", "Read", "Edit", "Grep", "Task", "WebSearch", "mcp__linear__get_issue", "TodoWrite")
_FILES = (
    "src/app.py",
    "cmd/main.go",
    "README.md",
    "tests/test_store.py",
    "pkg/$state.v2/index.ts",
    "a.b/c.d.json",
)
_POOL_CHARACTERS = 400_000


@cache
def _text_pool() -> str:
    words = random.Random(20260301)  # noqa: S311
    return " ".join(words.choices(_WORDS, k=_POOL_CHARACTERS // 5))


@dataclass(frozen=True, slots=True)
class Era:
    """What one range of CLI versions writes."""

    versions: tuple[str, ...]
    models: tuple[str, ...]
    cost_on_lines: bool = False
    sidechains_inline: bool = False
    progress: bool = False
    state_lines: bool = False


ERAS = (
    Era(("0.2.100", "1.0.8"), ("claude-3-7-sonnet-20250219",), cost_on_lines=True),
    Era(("1.0.98", "2.0.28"), ("claude-sonnet-4-20250514",), sidechains_inline=True),
    Era(
        ("2.0.64", "2.1.17", "2.1.42"),
        ("claude-opus-4-5-20251101", "claude-haiku-4-5-20251001"),
        progress=True,
    ),
    Era(("2.1.231", "2.1.270"), ("claude-opus-5", "claude-fable-5"), state_lines=True),
)


@dataclass(slots=True, kw_only=True)
class Session:
    """One session being made up. `lines` grow with `turn()`; `subagents` are files by agent id."""

    rng: random.Random
    id: str
    cwd: str
    era: Era
    clock: datetime
    lines: list[Line] = field(default_factory=list)
    subagents: dict[str, list[Line]] = field(default_factory=dict)
    todos: list[Line] = field(default_factory=list)
    leaf: str | None = None
    version: str = ""
    branch: str = "main"
    cost: float = 0.0

    def __post_init__(self) -> None:
        self.version = self.rng.choice(self.era.versions)

    def turn(self) -> None:
        """One prompt and everything that follows it."""
        rng = self.rng
        if rng.random() < 0.02:
            self.branch = rng.choice(("main", "feature/retry", "HEAD", ""))
        if not self.era.cost_on_lines:
            self._snapshot()
        if rng.random() < 0.2:
            self._queue_operations()
        self._user({"role": "user", "content": self.text(30, 600)})
        for _ in range(rng.randint(1, 7)):
            self._api_message()
        self._end_of_turn()

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def text(self, least: int, most: int) -> str:
        """Text of `least` to `most` characters, short ones more often."""
        pool = _text_pool()
        length = int(least * (most / least) ** self.rng.random())
        start = self.rng.randrange(len(pool) - length) if length < len(pool) else 0
        return (
            pool[start : start + length]
            if length < len(pool)
            else (pool * (length // len(pool) + 1))[:length]
        )

    def _body_text(self) -> str:
        """Text of a tool result: most are short, a few are whole files, hardly any an image."""
        roll = self.rng.random()
        if roll < 0.4:
            return self.text(40, 1_500)
        if roll < 0.85:
            return self.text(1_200, 9_000)
        return self.text(7_000, 60_000) if roll < 0.9985 else self.text(100_000, 380_000)

    def _tick(self, most_s: float = 8.0) -> str:
        self.clock += timedelta(milliseconds=self.rng.randint(20, int(most_s * 1000)))
        stamp = self.clock
        if self.rng.random() < 0.03:
            stamp -= timedelta(milliseconds=self.rng.randint(1, 900))  # file order is not time order
        return f"{stamp:%Y-%m-%dT%H:%M:%S}.{stamp.microsecond // 1000:03d}Z"

    def _threaded(self, *, kind: str, parent: str | None, **members: Any) -> Line:
        line: Line = {
            "parentUuid": parent,
            "isSidechain": False,
            "userType": "external",
            "cwd": self.cwd,
            "sessionId": self.id,
            "version": self.version,
            "gitBranch": self.branch,
            "type": kind,
            **members,
            "uuid": self.new_id(),
            "timestamp": self._tick(),
        }
        if self.era.progress and self.rng.random() < 0.96:
            line["slug"] = "joyful-wandering-plum"
        return line

    def _append(self, kind: str, **members: Any) -> Line:
        line = self._threaded(kind=kind, parent=self.leaf, **members)
        self.lines.append(line)
        self.leaf = line["uuid"]
        return line

    def _user(self, message: Any, **members: Any) -> None:
        self._append("user", message=message, **members)

    def _plain(self, kind: str, **members: Any) -> None:
        self.lines.append({"type": kind, **members})

    def _snapshot(self) -> None:
        message_id = self.leaf or self.new_id()
        backups = {
            name: {
                "backupFileName": f"{self.rng.getrandbits(64):016x}@v1",
                "version": 1,
                "backupTime": self._tick(1),
            }
            for name in self.rng.sample(_FILES, k=self.rng.randint(0, 3))
        }
        snapshot = {"messageId": message_id, "trackedFileBackups": backups, "timestamp": self._tick(1)}
        self._plain(
            "file-history-snapshot", messageId=message_id, snapshot=snapshot, isSnapshotUpdate=bool(backups)
        )
        if self.era.state_lines and backups:
            name, backup = next(iter(backups.items()))
            self._plain(
                "file-history-delta",
                messageId=self.new_id(),
                snapshotMessageId=message_id,
                trackingPath=name,
                backup=backup,
                timestamp=self._tick(1),
            )

    def _queue_operations(self) -> None:
        prompt = self.text(20, 200)
        content = [{"type": "text", "text": prompt}] if self.era.state_lines else prompt
        self._plain(
            "queue-operation",
            operation="enqueue",
            timestamp=self._tick(1),
            sessionId=self.id,
            content=content,
        )
        operation = self.rng.choice(("dequeue", "remove", "popAll"))
        self._plain("queue-operation", operation=operation, timestamp=self._tick(1), sessionId=self.id)

    def _api_message(self) -> None:
        """One answer of the model: several lines with one `message.id`, the usage repeated and growing on
        each.
        """
        rng = self.rng
        tools = [rng.choice(_TOOLS) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))]
        uses = [(f"toolu_{rng.getrandbits(96):024x}", tool) for tool in tools]
        blocks: list[Line] = []
        if rng.random() < 0.5:
            thinking = "" if self.era.state_lines else self.text(60, 2_500)
            blocks.append(
                {"type": "thinking", "thinking": thinking, "signature": f"{rng.getrandbits(512):0128x}"}
            )
        if not uses or rng.random() < 0.5:
            blocks.append({"type": "text", "text": self.text(40, 3_000)})
        blocks += [
            {"type": "tool_use", "id": use, "name": tool, "input": self._tool_input(tool)}
            for use, tool in uses
        ]
        self._assistant_lines(blocks)
        if self.era.sidechains_inline and rng.random() < 0.1:
            self._inline_sidechain()
        for use, tool in uses:
            if self.era.progress:
                self._progress(use, tool)
            if tool == "Task" and not self.era.sidechains_inline and rng.random() < 0.3:
                self._subagent()
            self._tool_result(use, tool)

    def _assistant_lines(self, blocks: list[Line]) -> None:
        rng = self.rng
        message_id, request_id = f"msg_{rng.getrandbits(96):024x}", f"req_{rng.getrandbits(96):024x}"
        model, output = rng.choice(self.era.models), rng.randint(1, 40)
        fixed = {
            "input_tokens": rng.randint(1, 3_000),
            "cache_creation_input_tokens": rng.randint(0, 20_000),
            "cache_read_input_tokens": rng.randint(0, 160_000),
        }
        synthetic = rng.random() < 0.002
        if synthetic:
            message_id, model, output, blocks = (
                self.new_id(),
                "<synthetic>",
                0,
                [{"type": "text", "text": "API Error"}],
            )
            fixed = dict.fromkeys(fixed, 0)
        for number, block in enumerate(blocks):
            if number and rng.random() < 0.3 and not synthetic:
                output += rng.randint(5, 900)
            message = {
                "model": model,
                "id": message_id,
                "type": "message",
                "role": "assistant",
                "content": [block],
                "stop_reason": "end_turn" if number == len(blocks) - 1 else None,
                "stop_sequence": None,
                "usage": {**fixed, "output_tokens": output, "service_tier": "standard"},
            }
            members: Line = {"message": message, "requestId": request_id}
            if synthetic:
                members = {"message": message, "isApiErrorMessage": True, "error": "rate_limit"}
            cost = round(output * 1.5e-5 + fixed["input_tokens"] * 3e-6, 7)
            self.cost += 0 if number else cost
            if self.era.cost_on_lines:
                members |= {"costUSD": cost, "durationMs": rng.randint(300, 40_000)}
            self._append("assistant", **members)

    def _tool_input(self, tool: str) -> Line:
        if tool == "Bash":
            return {"command": self.text(10, 200), "description": self.text(10, 60)}
        if tool == "Edit":
            name = self.rng.choice(_FILES)
            return {"file_path": name, "old_string": self.text(40, 900), "new_string": self.text(40, 900)}
        if tool == "TodoWrite":
            return {"todos": self._todo_items()}
        return {"file_path": self.rng.choice(_FILES), "query": self.text(10, 80)}

    def _todo_items(self) -> list[Line]:
        self.todos = [
            {
                "content": f"Step {number}: {self.text(10, 60)}",
                "status": "completed" if number < 2 else "pending",
                "activeForm": f"Doing step {number}",
            }
            for number in range(self.rng.randint(1, 6))
        ]
        return self.todos

    def _tool_result(self, use: str, tool: str) -> None:
        rng, text = self.rng, self._body_text()
        block: Line = {"tool_use_id": use, "type": "tool_result", "content": text}
        result: Any
        roll = rng.random()
        if roll < 0.05:
            result = f"Error: {text[:200]}"
            block |= {"content": result, "is_error": True}
        elif roll < 0.08 or tool.startswith("mcp"):
            result = [{"type": "text", "text": text}]
            block["content"] = result
        elif tool == "Bash":
            result = {"stdout": text, "stderr": "", "interrupted": False, "isImage": False}
            block["is_error"] = False
        else:
            name = rng.choice(_FILES)
            result = {
                "type": "text",
                "filePath": name,
                "filenames": [name],
                "numFiles": 1,
                "durationMs": 12,
                "file": {name: {"content": text[:400], "totalLines": text.count("\n")}},
            }
        members: Line = {} if rng.random() < 0.11 else {"toolUseResult": result}
        self._user({"role": "user", "content": [block]}, **members)

    def _progress(self, use: str, tool: str) -> None:
        rng = self.rng
        makers: dict[str, Callable[[int], Line]] = {
            "Bash": lambda n: {
                "type": "bash_progress",
                "output": self.text(20, 300),
                "fullOutput": self.text(20, 1_200),
                "elapsedTimeSeconds": n + 2,
                "totalLines": n * 7,
            },
            "Task": lambda n: {
                "type": "agent_progress",
                "prompt": self.text(40, 400),
                "agentId": f"{n:07x}",
                "normalizedMessages": [],
                "message": {
                    "type": "user",
                    "uuid": self.new_id(),
                    "timestamp": self._tick(1),
                    "message": {"role": "user", "content": self._body_text()},
                },
            },
            "WebSearch": lambda n: (
                {"type": "query_update", "query": self.text(20, 60)}
                if n % 2 == 0
                else {"type": "search_results_received", "resultCount": 10, "query": self.text(20, 60)}
            ),
            "mcp__linear__get_issue": lambda n: {
                "type": "mcp_progress",
                "status": "started" if n == 0 else "completed",
                "serverName": "linear",
                "toolName": "get_issue",
            },
            "TodoWrite": lambda _: {
                "type": "waiting_for_task",
                "taskDescription": "Rebase",
                "taskType": "local_bash",
            },
        }
        hook = {
            "type": "hook_progress",
            "hookEvent": "PostToolUse",
            "hookName": f"PostToolUse:{tool}",
            "command": "callback",
        }
        for number in range(rng.choice((1, 2, 3, 5))):
            data = makers[tool](number) if tool in makers else hook
            self._append("progress", data=data, toolUseID=f"{tool}-progress-{number}", parentToolUseID=use)

    def _inline_sidechain(self) -> None:
        parent: str | None = None
        for role in ("user", "assistant", "user"):
            message: Line = {"role": role, "content": self.text(40, 900)}
            if role == "assistant":
                message = {
                    "id": f"msg_{self.rng.getrandbits(96):024x}",
                    "type": "message",
                    "role": role,
                    "model": self.era.models[0],
                    "content": [{"type": "text", "text": self.text(40, 900)}],
                    "usage": {"input_tokens": 100, "output_tokens": 10},
                }
            line = self._threaded(kind=role, parent=parent, message=message) | {"isSidechain": True}
            parent = str(line["uuid"])
            self.lines.append(line)

    def _subagent(self) -> None:
        """A sub-agent writes a file of its own, under its parent's session id."""
        agent = f"{self.rng.getrandbits(68):017x}"
        main, self.lines = self.lines, []
        self._inline_sidechain()
        self.subagents[agent] = [line | {"agentId": agent} for line in self.lines]
        self.lines = main

    def _end_of_turn(self) -> None:
        rng = self.rng
        if self.era.progress or self.era.state_lines:
            self._append(
                "system",
                subtype="stop_hook_summary",
                hookCount=1,
                hookErrors=[],
                stopReason="",
                hookInfos=[{"command": "hooks stop"}],
                preventedContinuation=False,
                hasOutput=True,
                level="suggestion",
                toolUseID=self.new_id(),
            )
        self._append("system", subtype="turn_duration", durationMs=rng.randint(900, 400_000), isMeta=False)
        if rng.random() < 0.12:
            self._rare_system_line()
        if rng.random() < 0.05:
            number = rng.randint(1, 999)
            self._plain(
                "pr-link",
                sessionId=self.id,
                prNumber=number,
                prRepository="o/r",
                timestamp=self._tick(),
                prUrl=f"https://github.com/o/r/pull/{number}",
            )
        if self.era.state_lines:
            self._state_lines()

    def _rare_system_line(self) -> None:
        roll = self.rng.randrange(5)
        if roll == 0:
            self.leaf, logical = None, self.leaf
            self._append(
                "system",
                subtype="compact_boundary",
                content="Conversation compacted",
                level="info",
                logicalParentUuid=logical,
                compactMetadata={"trigger": "auto", "preTokens": 167066},
            )
        elif roll == 1:
            self._append(
                "system",
                subtype="api_error",
                level="error",
                error={"status": 529, "headers": {}},
                retryInMs=self.rng.random() * 900,
                retryAttempt=1,
                maxRetries=10,
            )
        elif roll == 2:
            self._append(
                "system",
                subtype="local_command",
                level="info",
                content="<local-command-stdout>done</local-command-stdout>",
            )
        elif roll == 3:
            self._append(
                "system",
                subtype="microcompact_boundary",
                content="Context microcompacted",
                level="info",
                microcompactMetadata={"trigger": "auto", "preTokens": 50745, "tokensSaved": 26741},
            )
        else:
            self._append("system", subtype="away_summary", content=self.text(40, 400))

    def _state_lines(self) -> None:
        """Lines that newer versions append every turn; the last of a kind is the one that counts."""
        rng, own = self.rng, {"sessionId": self.id}
        for attachment in (
            {"type": "total_tokens_reminder", "used": rng.randint(1, 150_000), "total": 200_000},
            {"type": "task_reminder", "content": [], "itemCount": 0},
            {"type": "skill_listing", "content": self.text(100, 3_000)},
        ):
            if rng.random() < 0.5:
                self._append("attachment", attachment=attachment)
        self._plain("last-prompt", lastPrompt=self.text(10, 120), leafUuid=self.leaf, **own)
        self._plain("mode", mode="normal", **own)
        self._plain("permission-mode", permissionMode="auto", **own)
        if rng.random() < 0.3:
            self._plain("atis-latch", atis="", **own)
            self._plain("ai-title", aiTitle=self.text(10, 50), **own)
            self._plain("custom-title", customTitle="named", **own)
            self._plain("agent-name", agentName="named", **own)
            self._plain("frame-link", artifactCount=1, timestamp=self._tick(1), **own)
            self._plain("bridge-session", bridgeSessionId="cse_x", lastSequenceNum=0, **own)
            self._plain(
                "cost-state",
                totalCostUSD=round(self.cost, 7),
                totalAPIDuration=7914,
                startTime=int(self.clock.timestamp() * 1000),
                hasUnknownModelCost=False,
                modelUsage={self.era.models[0]: {"inputTokens": 368, "costUSD": round(self.cost, 7)}},
                **own,
            )
