"""Hooks of coding agents: each tool use of Claude Code or Codex is a governed call (docs/adapters.md)."""
