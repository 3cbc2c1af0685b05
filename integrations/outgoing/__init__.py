"""Webhooks to the endpoints of operators and customers: what happened here, signed.

What happens is written to the outbox in the transaction in which it happens: `events.outbox`, `Connection.move_to`.

`dispatcher` sends what waits, `request` is one try, `results` writes how tries ended, `schedule` says when the next one
is due. `endpoints` makes and changes endpoints; `message_types` names what they can ask for. `delivery_actions` is what
people do with deliveries, `resends` sends many again. `signatures` makes secrets and signs by the Standard Webhooks
specification. `sender` posts one request to an address that somebody entered, and reaches public addresses only.
"""
