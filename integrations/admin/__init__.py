"""What the operator's staff see and may do about connections and events. Nothing here can show, type or change a token.

customers    a customer with all that belongs to it, on one page
connections  connections, attempts to connect, tests
linked_users who has linked which SnapInspect user
panels       what customers see live from the API
deliveries   events and the deliveries they came from
trail        who did what
webhook_endpoints  the addresses that we post to, and what was delivered there
"""

from integrations.admin import connections, customers, deliveries, linked_users, panels, trail, webhook_endpoints

__all__ = ["connections", "customers", "deliveries", "linked_users", "panels", "trail", "webhook_endpoints"]
