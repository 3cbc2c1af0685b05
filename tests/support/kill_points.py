"""What gunicorn serves in the crash tests: the app, with points where it dies or hangs on request.

A file `point` in the folder KILL_FOLDER names the point; it works once. Points:

    before redeem    the callback has read the query
    after redeem     the state is used up, nothing is sealed
    after receive    the pair is sealed, nothing is committed
    after commit     the pair is committed, no answer has been made
    before answer    the answer is ready, nothing of it is sent
    hang             the callback never comes to an end
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectapp import wsgi
from integrations.connecting import oauth_state
from integrations.tokens import custody
from integrations.views import connect

POINT = Path(os.environ["KILL_FOLDER"], "point")


def reach(point: str) -> None:
    try:
        if POINT.read_text() != point:
            return
        POINT.unlink()
    except FileNotFoundError:
        return
    if point == "hang":
        time.sleep(3600)
    os.kill(os.getpid(), signal.SIGKILL)


def _around(module: Any, name: str, *, before: str = "", after: str = "") -> None:
    inner: Callable[..., Any] = getattr(module, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        reach(before)
        result = inner(*args, **kwargs)
        reach(after)
        return result

    setattr(module, name, wrapped)


_around(oauth_state, "redeem", before="before redeem", after="after redeem")
_around(custody, "receive", after="after receive")
_around(oauth_state, "find", before="hang")
_around(connect, "redirect_from_callback", before="after commit")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    answer = wsgi.application(environ, start_response)
    if environ["PATH_INFO"] == "/connect/callback/":
        reach("before answer")
    return answer
