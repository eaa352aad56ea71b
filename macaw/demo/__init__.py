"""The demo: real tools, real stores, and what policies made of an injected agent."""
