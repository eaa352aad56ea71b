"""A decision endpoint for those who ask before they act: OpenID AuthZEN Authorization API 1.0, as advice."""
