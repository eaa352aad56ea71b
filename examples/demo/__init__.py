"""The demos: an injected agent and a workflow with people in it, on real tools and real stores."""
