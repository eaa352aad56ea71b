"""`python -m examples.demo.mcp`: an unmodified MCP server behind the gateway, for an agent that obeys what it reads."""

import sys

from examples.demo.command import main
from examples.demo.mcp.run import play

if __name__ == "__main__":
    sys.exit(
        main(
            play,
            program="examples.demo.mcp",
            description="Put a reference server of MCP for files behind the gateway (from npm where Node.js is, else "
            "one of the Python SDK), let an agent read a wanted file, and refuse all that an injected instruction asks "
            "for; then change a tool's description. The exit status is 0 only if everything held.",
        )
    )
