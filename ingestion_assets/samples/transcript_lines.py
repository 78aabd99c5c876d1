"""Makes up the lines of one session, of every kind and in the proportions counted in real transcripts.

What a line of a given CLI version looks like is here; what tools are given and answer, in `tool_blocks`; which sessions
there are and where their files lie, in `transcripts`.
"""

from dataclasses import dataclass, field
from typing import Any

from ingestion_assets.samples.invention import FILES, Invention, Line
from ingestion_assets.samples.tool_blocks import input_of, progress_of, result_of

_TOOLS = ("Bash", "Read", "Edit", "Grep", "Task", "WebSearch", "mcp__linear__get_issue", "TodoWrite")


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
class Session(Invention):
    """One session being made up. `lines` grow with `turn()`; `subagents` are files by agent id."""

    id: str
    cwd: str
    era: Era
    lines: list[Line] = field(default_factory=list)
    subagents: dict[str, list[Line]] = field(default_factory=dict)
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

    def _threaded(self, *, kind: str, parent: str | None, **members: Any) -> Line:
        line: Line = {
            "parentUuid": parent, "isSidechain": False, "userType": "external", "cwd": self.cwd,
            "sessionId": self.id, "version": self.version, "gitBranch": self.branch, "type": kind,
            **members, "uuid": self.new_id(), "timestamp": self.tick(),
        }  # fmt: skip
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
            name: {"backupFileName": f"{self.rng.getrandbits(64):016x}@v1", "version": 1, "backupTime": self.tick(1)}
            for name in self.rng.sample(FILES, k=self.rng.randint(0, 3))
        }  # fmt: skip
        snapshot = {"messageId": message_id, "trackedFileBackups": backups, "timestamp": self.tick(1)}
        self._plain(
            "file-history-snapshot", messageId=message_id, snapshot=snapshot, isSnapshotUpdate=bool(backups)
        )
        if self.era.state_lines and backups:
            name, backup = next(iter(backups.items()))
            self._plain(
                "file-history-delta", messageId=self.new_id(), snapshotMessageId=message_id, trackingPath=name,
                backup=backup, timestamp=self.tick(1),
            )  # fmt: skip

    def _queue_operations(self) -> None:
        prompt = self.text(20, 200)
        content = [{"type": "text", "text": prompt}] if self.era.state_lines else prompt
        self._plain(
            "queue-operation",
            operation="enqueue",
            timestamp=self.tick(1),
            sessionId=self.id,
            content=content,
        )
        operation = self.rng.choice(("dequeue", "remove", "popAll"))
        self._plain("queue-operation", operation=operation, timestamp=self.tick(1), sessionId=self.id)

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
            {"type": "tool_use", "id": use, "name": tool, "input": input_of(self, tool)} for use, tool in uses
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
            message_id, model, output = self.new_id(), "<synthetic>", 0
            blocks = [{"type": "text", "text": "API Error"}]
            fixed = dict.fromkeys(fixed, 0)
        for number, block in enumerate(blocks):
            if number and rng.random() < 0.3 and not synthetic:
                output += rng.randint(5, 900)
            message = {
                "model": model, "id": message_id, "type": "message", "role": "assistant", "content": [block],
                "stop_reason": "end_turn" if number == len(blocks) - 1 else None, "stop_sequence": None,
                "usage": {**fixed, "output_tokens": output, "service_tier": "standard"},
            }  # fmt: skip
            members: Line = {"message": message, "requestId": request_id}
            if synthetic:
                members = {"message": message, "isApiErrorMessage": True, "error": "rate_limit"}
            cost = round(output * 1.5e-5 + fixed["input_tokens"] * 3e-6, 7)
            self.cost += 0 if number else cost
            if self.era.cost_on_lines:
                members |= {"costUSD": cost, "durationMs": rng.randint(300, 40_000)}
            self._append("assistant", **members)

    def _tool_result(self, use: str, tool: str) -> None:
        block, result = result_of(self, use, tool)
        members: Line = {} if self.rng.random() < 0.11 else {"toolUseResult": result}
        self._user({"role": "user", "content": [block]}, **members)

    def _progress(self, use: str, tool: str) -> None:
        for number in range(self.rng.choice((1, 2, 3, 5))):
            data = progress_of(self, tool, number)
            self._append("progress", data=data, toolUseID=f"{tool}-progress-{number}", parentToolUseID=use)

    def _inline_sidechain(self) -> None:
        parent: str | None = None
        for role in ("user", "assistant", "user"):
            message: Line = {"role": role, "content": self.text(40, 900)}
            if role == "assistant":
                message = {
                    "id": f"msg_{self.rng.getrandbits(96):024x}", "type": "message", "role": role,
                    "model": self.era.models[0], "content": [{"type": "text", "text": self.text(40, 900)}],
                    "usage": {"input_tokens": 100, "output_tokens": 10},
                }  # fmt: skip
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
                "system", subtype="stop_hook_summary", hookCount=1, hookErrors=[], stopReason="",
                hookInfos=[{"command": "hooks stop"}], preventedContinuation=False, hasOutput=True,
                level="suggestion", toolUseID=self.new_id(),
            )  # fmt: skip
        self._append("system", subtype="turn_duration", durationMs=rng.randint(900, 400_000), isMeta=False)
        if rng.random() < 0.12:
            self._rare_system_line()
        if rng.random() < 0.05:
            number = rng.randint(1, 999)
            self._plain(
                "pr-link", sessionId=self.id, prNumber=number, prRepository="o/r", timestamp=self.tick(),
                prUrl=f"https://github.com/o/r/pull/{number}",
            )  # fmt: skip
        if self.era.state_lines:
            self._state_lines()

    def _rare_system_line(self) -> None:
        logical = self.leaf
        kinds: tuple[tuple[str, Line], ...] = (
            ("compact_boundary", {
                "content": "Conversation compacted", "level": "info", "logicalParentUuid": logical,
                "compactMetadata": {"trigger": "auto", "preTokens": 167066},
            }),
            ("api_error", {
                "level": "error", "error": {"status": 529, "headers": {}}, "retryInMs": 0,
                "retryAttempt": 1, "maxRetries": 10,
            }),
            ("local_command", {"level": "info", "content": "<local-command-stdout>done</local-command-stdout>"}),
            ("microcompact_boundary", {
                "content": "Context microcompacted", "level": "info",
                "microcompactMetadata": {"trigger": "auto", "preTokens": 50745, "tokensSaved": 26741},
            }),
            ("away_summary", {"content": ""}),
        )  # fmt: skip
        subtype, members = self.rng.choice(kinds)
        if subtype == "compact_boundary":
            self.leaf = None
        elif subtype == "api_error":
            members["retryInMs"] = self.rng.random() * 900
        elif subtype == "away_summary":
            members["content"] = self.text(40, 400)
        self._append("system", subtype=subtype, **members)

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
            self._plain("frame-link", artifactCount=1, timestamp=self.tick(1), **own)
            self._plain("bridge-session", bridgeSessionId="cse_x", lastSequenceNum=0, **own)
            self._plain(
                "cost-state", totalCostUSD=round(self.cost, 7), totalAPIDuration=7914,
                startTime=int(self.clock.timestamp() * 1000), hasUnknownModelCost=False,
                modelUsage={self.era.models[0]: {"inputTokens": 368, "costUSD": round(self.cost, 7)}}, **own,
            )  # fmt: skip
