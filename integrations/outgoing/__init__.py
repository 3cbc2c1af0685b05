"""Webhooks to the endpoints of operators and customers: what happened here, signed.

`endpoints` makes and changes endpoints; `message_types` names what they can ask for. `signatures` makes secrets and
signs by the Standard Webhooks specification. `sender` posts one request to an address that somebody entered, and
reaches public addresses only.
"""
