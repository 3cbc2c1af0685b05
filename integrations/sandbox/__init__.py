"""A stand-in for SnapInspect: a separate program on the standard library.

It is the vendor's side of Connect (authorization page, token exchange) with a small API and sample data. It sends
webhooks, and tests can order faults. It shares no code with the rest of the project: otherwise a misreading of the
vendor's page would be on both sides, and no test would show it. What the vendor does not document is marked "assumed".

`python -m integrations.sandbox` runs it; `serve()` runs it in a thread of this process.
"""

from integrations.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
