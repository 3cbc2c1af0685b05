"""Leases: a worker holds a row while it works on it; when the lease has expired, another worker may take the row."""

from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

# Longer than any call to SnapInspect (see the deadlines in snapinspect/), so that it expires only if its holder is
# dead or frozen. Work of a killed process waits this long.
LEASE = timedelta(seconds=45)
# By the database's clock.
UNLEASED = Q(lease_until=None) | Q(lease_until__lt=Now())
