"""What people are mailed: `incidents` when a connection needs a person and when it works again, `digest` once a day.

Both send by `mail`.
"""
