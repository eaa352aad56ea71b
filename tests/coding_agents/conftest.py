"""These tests run the real programs: `make test-coding-agents` alone collects them, and the gate does not."""

import os

COLLECTED = "MACAW_TEST_CODING_AGENTS"
collect_ignore_glob = [] if os.environ.get(COLLECTED) == "1" else ["test_*.py"]
