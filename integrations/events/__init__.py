"""From a webhook delivery to a finished event.

`webhook_addresses` finds the owner of an address; `group_commit` stores deliveries that come at the same time.
`routing` makes events of them (`parsed_deliveries` reads the bodies, `duplicates` tells repetitions). `queue` leases a
connection's queue to one worker, `leased_queue` processes its events in order, `attempts` is one attempt at one event,
`verification` looks the inspection up, `handlers` runs the operator's code, `outbox` has endpoints told.

`parked` holds deliveries of no connection, `quotas` says how much is kept, `recovery` finds missed events,
`event_actions` is what people do with events, `replays` and `selection` are about many at once. `transfer` moves what
came for a connection to another one. `public_types` names the types of events for the operator's own systems.
"""
