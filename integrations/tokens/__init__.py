"""Access and refresh tokens: encrypted at rest, from the callback to a disconnect.

`custody` stores a received token pair, opens it as an API client, and erases it. `lease` changes a pair; `exchange`
resolves what an exchange did, and `renewal` replaces a pair that SnapInspect refuses: `proof` asks `/user` first,
`diagnosis` finds out whose trouble it is, and `exchange_limit` allows few exchanges while none helps. `guest_tokens`
are pairs without a connection. `spool` and `spool_recovery` keep a new pair on disk until the database has it.

`encryption` seals, with the `keys` of this deployment; `storage` is what is stored of a pair; `key_rotation` seals
everything anew. Tokens enter this package in plain text and leave it only inside a `snapinspect.client.Client`.
"""
