"""How good the detectors are on corpora of others: hits of attacks, hits of innocent texts, each with an interval."""
