"""Webhooks to the endpoints of operators and customers: what happened here, signed.

`signatures` makes secrets and signs by the Standard Webhooks specification. `sender` posts one request to an address
that somebody entered, and reaches public addresses only.
"""
