"""MAPL, the policy language: who may do what, with which parameters.

`documents` reads a policy, `compiled` prepares it, `resolve` says which policies apply, `decide` answers a call.
`patterns` and `text` hold the matching rules, `limits` every bound, `errors` the refusals.

This version knows `resources`, `denied_resources` and literal parameter constraints. Whatever else the language has is
refused when a policy is published (`E_NOT_SUPPORTED`), so no document means less here than it says.
"""
