"""From a webhook delivery to a finished event.

`webhook_addresses` says whose an address is, `routing` makes events of deliveries, `queue` works on a connection's
events one at a time, `attempts` is one attempt at one event, `verification` fetches the inspection, `handlers` runs the
operator's code. `parked` holds deliveries that belong to nobody yet, `recovery` finds missed events, `replays` and
`selection` are about many events at once.
"""
