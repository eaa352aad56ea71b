"""Events as the agents send them: recorded from Claude Code 2.1.197 and Codex 0.171.0 (tests/coding_agents)."""

from __future__ import annotations

from typing import Any

CLAUDE = {
    "session_id": "8ccbff3b-1669-4419-8e6c-7b7ad5cab1e0",
    "transcript_path": "/home/dev/.claude/projects/-project/8ccbff3b-1669-4419-8e6c-7b7ad5cab1e0.jsonl",
    "prompt_id": "51b89cd1-4093-4882-a932-38f701d682aa",
    "permission_mode": "bypassPermissions",
    "effort": {"level": "high"},
    "tool_use_id": "toolu_0000",
}
CODEX = {
    "session_id": "01a231af-9da9-7fb0-b2f0-69979b10e535",
    "turn_id": "01a231af-9dc9-76b3-8bac-9be5d00a9a35",
    "transcript_path": "/home/dev/.codex/sessions/2026/12/01/rollout-01a231af-9da9-7fb0-b2f0-69979b10e535.jsonl",
    "model": "gpt-5.2-codex",
    "permission_mode": "bypassPermissions",
    "tool_use_id": "call_0",
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
