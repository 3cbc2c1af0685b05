"""The REST API for the operator's own systems, below /api/v1/.

Requests come in above the middleware of pages (`middleware`), with a key (`keys`, `access`), and leave as JSON or as a
problem (`problems`). `customers`, `connections` and the other modules are one resource each; `paging` has their lists,
`values` the kinds of text that they take, and `urls` puts them together. A key of one customer reaches nothing of
others: every query begins at `Caller`.
"""
