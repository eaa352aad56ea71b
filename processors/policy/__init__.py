"""The policy language, MAPL: which calls are permitted, with which parameters, when, how often, and after which others.

Specification: docs/mapl.md.

From text to closures: `documents` reads a policy, with `specs`, `requirements`, `expressions` and `sequences` for its
parts; `compiled` prepares it; `publication` decides whether it may come into force.
From a call to a verdict: `resolve` names the ids to look up, `index` finds them with their chains, `plan` sorts their
checks into stages, `stages` runs them, `decide` is the whole; `verdict` is the answer with its consequences.
For people: `insight` explains a decision and the policies of a subject.
`patterns`, `globs` and `regexes` hold the matching rules, `limits` every bound, `errors` the refusals.

Pure: no clock, no randomness, no table that could be written to; the only files read are those of the pinned zones.
"""
