"""`make demo-mcp`: a server of MCP behind the gateway, for an agent that obeys what it reads."""
