"""A stand-in for SnapInspect: a separate program, on the standard library only.

It plays the vendor's side of Connect (authorization page, token exchange), a small API with sample data, sends
webhooks, and can be told to misbehave. It shares no code with the rest of the project, so that a misreading of
the vendor's page cannot hide by being made twice. What the vendor's page does not say is marked "assumed" here
and on its pages.

`python -m integrations.sandbox` runs it; `serve()` runs it in a thread of this process, for tests.
"""

from integrations.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
