"""Development only: benchmarks (`make bench`, `make growth`, `python -m bench.scaling`) and made-up data.

Benchmarks: `benchmarks` is the list of what `make bench` measures, `growth` and `scaling` are programs of their own.
`reference_*` is what the product is compared with.
Data: `seeding` with `manage.py seed`; `manage.py demo` for `make run`.
"""
