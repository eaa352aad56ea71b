"""The pipeline of verifiers: each looks at a call or a result, and says pass, deny or ask (docs/verifiers.md)."""
