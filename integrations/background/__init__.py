"""Work behind the pages: workers look at the rows for what is due, and do it.

`jobs` is the table of what may be due, and the sweep; `due_rows` reads all of it by one statement; `agenda` says whose
turn it is; `pool` is a worker's threads.
"""
