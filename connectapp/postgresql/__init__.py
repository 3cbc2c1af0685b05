"""The database engine `connectapp.postgresql`: Django's, whose connections give up on a server that does not answer.

A server that is down refuses at once. One that hangs (a frozen machine, a full disk, a dead router) leaves every thread
waiting, and no time-out of the server's own helps. So the client counts: `connect_timeout` for connecting, TCP's own
limits for a dead network, and a deadline for each statement for a server that takes it and says nothing.
"""

from contextvars import ContextVar

# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS; DATABASE_URL may say otherwise.
OPTIONS = {
    "connect_timeout": 2,  # seconds
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

# Seconds for each statement of this thread; None for commands, which may take as long as they need.
deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
OF_REQUESTS = 2.5
# For so long after a server said nothing, requests of this process open no new connection to it: those that queued
# behind the first ones would wait once more.
REFUSE_AFTER_SILENCE = 2.0  # seconds
