"""Counters that processes keep while they work, written as OpenMetrics: see `counters`."""
