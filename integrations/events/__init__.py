"""From a webhook delivery to a finished event.

`webhook_addresses` finds the owner of an address, `routing` makes events of deliveries, `queue` leases a connection's
queue to one worker, `leased_queue` processes its events in order, `attempts` is one attempt at one event,
`verification` looks the inspection up, `handlers` runs the operator's code. `parked` holds deliveries of no connection,
`quotas` says how much is kept, `recovery` finds missed events, `event_actions` is what people do with events, `replays`
and `selection` are about many at once. `transfer` moves what came for a connection to another one.
"""
