"""Events in the shapes of the agents' hooks, as their references show them."""

from __future__ import annotations

from typing import Any

CLAUDE = {
    "session_id": "abc123",
    "transcript_path": "/home/dev/.claude/projects/p/abc123.jsonl",
    "permission_mode": "default",
    "tool_use_id": "toolu_01ABC123",
}
CODEX = {
    "session_id": "0199a213-81c0-7800-8aa1-bbab2a035a53",
    "turn_id": "turn-1",
    "agent_id": None,
    "agent_type": None,
    "transcript_path": None,
    "model": "gpt-5.2-codex",
    "permission_mode": "default",
    "tool_use_id": "call_7",
}


def claude(tool: str, given: dict[str, Any], *, cwd: str = "/project", **more: Any) -> dict[str, Any]:
    return {**CLAUDE, "hook_event_name": "PreToolUse", "cwd": cwd, "tool_name": tool, "tool_input": given, **more}


def codex(tool: str, given: dict[str, Any], *, cwd: str = "/project", **more: Any) -> dict[str, Any]:
    return {**CODEX, "hook_event_name": "PreToolUse", "cwd": cwd, "tool_name": tool, "tool_input": given, **more}


PATCH = """*** Begin Patch
*** Add File: notes/new.md
+# New
*** Update File: src/app.py
*** Move to: src/main.py
@@ def run():
-    pass
+    return 1
*** Delete File: old.txt
*** End Patch
"""
