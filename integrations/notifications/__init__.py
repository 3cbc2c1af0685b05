"""What people are mailed: `incidents` when a connection needs a person and when it works again, `digest` once a day,
`switched_off` when a webhook endpoint was switched off.

All send by `mail`.
"""
