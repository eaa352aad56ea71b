"""The policy language, MAPL: which calls are permitted, with which parameters, when, how often, and after which others.

Specification: docs/mapl.md.

From text to closures: `documents` reads a policy, with `specs`, `requirements`, `expressions` and `sequences` for its
parts; `compiled` prepares it. `publication` says what may be put into force.
From a call to a verdict: `resolve` says which ids are looked up, `index` finds them with their chains, `plan` sorts
what they ask into stages, `stages` asks it, `decide` is the whole; `verdict` is the answer, with what is to be written.
For people: `explain` tells every check of one call, `effective` what applies to a subject.
`patterns`, `globs`, `regexes` and `text` hold the matching rules, `limits` every bound, `errors` the refusals.

Pure: no clock, no randomness, no table that could be written to; the only files read are those of the pinned zones.
"""
