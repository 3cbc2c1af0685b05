"""Work behind the pages.

`jobs` is the table of what may be due and who does it; `redis_queue` wakes workers by Redis instead of the database.
"""
