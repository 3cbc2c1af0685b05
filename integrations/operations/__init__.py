"""For the operator of the deployment.

`status` is what the operations page shows, `gauges` the same for a scrape of metrics, `retention` how long each kind of
row is kept, `export` all data of a customer.
"""
