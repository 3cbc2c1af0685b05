"""For those who run the deployment.

`status` is what the operations page shows, `gauges` the same as numbers for a scrape, `retention` how long each kind of
row is kept, `export` everything that is kept for a customer.
"""
