"""The database engine `connectapp.sqlite3`: Django's, for connections that are kept from request to request."""

# WAL: readers and the one writer do not wait for each other. FULL: a commit survives power loss. IMMEDIATE: a
# transaction takes its write lock at the start, so it waits its turn instead of failing half-way. secure_delete: erased
# tokens are overwritten in the file, not just unlinked.
OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;",
}
