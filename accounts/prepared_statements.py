class Prepared(str):
    """SQL that is the same at each call but for its parameters, and takes PostgreSQL longer to plan than to run.

    `connectapp.postgresql` has it planned once for each connection. To SQLite, which keeps what it has parsed, it is a
    text like any other.
    """

    __slots__ = ()
