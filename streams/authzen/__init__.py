"""The OpenID AuthZEN Authorization API 1.0: decisions from policy files, as advice, without a log."""
