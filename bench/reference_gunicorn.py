"""gunicorn for the reference views: the product's configuration without the threads that it starts in each process."""

from runpy import run_path

_PRODUCT = run_path("gunicorn.conf.py")
globals().update({name: value for name, value in _PRODUCT.items() if name != "post_worker_init"})
