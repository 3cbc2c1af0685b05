"""Access and refresh tokens: encrypted at rest, and their life from the callback to a disconnect.

A token pair comes in sealed (`custody.receive`), is lent out as an API client (`custody.lend`), changes only under a
lease (`lease`), and is erased (`custody.forget`). `renewal` replaces a pair that SnapInspect refuses; `exchange` sees
one exchange to its end; `key_rotation` and `keys` are about the encryption keys. Tokens enter here in plain text and
leave only inside a `snapinspect.client.Client`.
"""
