"""An MCP gateway between clients and servers that know nothing of it: each request is a governed call (docs/mcp.md)."""
