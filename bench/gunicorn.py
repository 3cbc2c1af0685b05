"""gunicorn for the reference views: as the product has it, but for what that starts beside its pages in each process."""

from runpy import run_path

_OF_THE_PRODUCT = run_path("gunicorn.conf.py")
globals().update({name: value for name, value in _OF_THE_PRODUCT.items() if name != "post_worker_init"})
