"""What made-up tools are given, what they tell while they work, and what they answer."""

from typing import Any

from ingestion_assets.samples.invention import FILES, Invention, Line


def input_of(made: Invention, tool: str) -> Line:
    if tool == "Bash":
        return {"command": made.text(10, 200), "description": made.text(10, 60)}
    if tool == "Edit":
        name = made.rng.choice(FILES)
        return {"file_path": name, "old_string": made.text(40, 900), "new_string": made.text(40, 900)}
    if tool == "TodoWrite":
        return {"todos": _todo_items(made)}
    return {"file_path": made.rng.choice(FILES), "query": made.text(10, 80)}


def _todo_items(made: Invention) -> list[Line]:
    return [
        {
            "content": f"Step {number}: {made.text(10, 60)}",
            "status": "completed" if number < 2 else "pending",
            "activeForm": f"Doing step {number}",
        }
        for number in range(made.rng.randint(1, 6))
    ]


def result_of(made: Invention, use: str, tool: str) -> tuple[Line, Any]:
    """The block of an answer, and the result as the line has it beside its message."""
    rng, text = made.rng, made.body_text()
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
        name = rng.choice(FILES)
        result = {
            "type": "text", "filePath": name, "filenames": [name], "numFiles": 1, "durationMs": 12,
            "file": {name: {"content": text[:400], "totalLines": text.count("\n")}},
        }  # fmt: skip
    return block, result


def progress_of(made: Invention, tool: str, number: int) -> Line:
    match tool:
        case "Bash":
            return {
                "type": "bash_progress", "output": made.text(20, 300), "fullOutput": made.text(20, 1_200),
                "elapsedTimeSeconds": number + 2, "totalLines": number * 7,
            }  # fmt: skip
        case "Task":
            return {
                "type": "agent_progress", "prompt": made.text(40, 400), "agentId": f"{number:07x}",
                "normalizedMessages": [],
                "message": {
                    "type": "user", "uuid": made.new_id(), "timestamp": made.tick(1),
                    "message": {"role": "user", "content": made.body_text()},
                },
            }  # fmt: skip
        case "WebSearch" if number % 2:
            return {"type": "search_results_received", "resultCount": 10, "query": made.text(20, 60)}
        case "WebSearch":
            return {"type": "query_update", "query": made.text(20, 60)}
        case "mcp__linear__get_issue":
            status = "completed" if number else "started"
            return {
                "type": "mcp_progress",
                "status": status,
                "serverName": "linear",
                "toolName": "get_issue",
            }
        case "TodoWrite":
            return {"type": "waiting_for_task", "taskDescription": "Rebase", "taskType": "local_bash"}
    hook = f"PostToolUse:{tool}"
    return {"type": "hook_progress", "hookEvent": "PostToolUse", "hookName": hook, "command": "callback"}
