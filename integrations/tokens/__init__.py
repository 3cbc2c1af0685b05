"""Access and refresh tokens: encrypted at rest, from the callback to a disconnect.

`custody` stores a received token pair, opens it as an API client, and erases it. `lease` changes a pair; `exchange`
resolves what an exchange did, and `renewal` replaces a pair that SnapInspect refuses. `spool` and `spool_recovery` keep
a new pair on disk until the database has it. `keys` and `key_rotation` are about the encryption keys. Tokens enter this
package in plain text and leave it only inside a `snapinspect.client.Client`.
"""
