"""gunicorn for the reference views: as the product has it, but for what that starts in each process beside pages."""

from runpy import run_path

_OF_THE_PRODUCT = run_path("gunicorn.conf.py")
globals().update({name: value for name, value in _OF_THE_PRODUCT.items() if name != "post_worker_init"})
