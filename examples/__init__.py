"""Examples of a checkout: policies, cases, tools, and the demos in `demo/`. Nothing here is in the wheel."""
