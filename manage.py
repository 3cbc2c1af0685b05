#!/usr/bin/env python
"""Django's command line. A configuration error is printed in one line instead of a traceback."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db.utils import DatabaseError, OperationalError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "connectapp.settings")
    try:
        " ".join(sys.argv).encode()
    except UnicodeEncodeError:
        sys.exit("The arguments are not UTF-8.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:
        sys.exit(f"Configuration: {problem}")
    except DatabaseError as problem:
        # "file is not a database" comes as the base class; the other subclasses are faults of ours.
        if type(problem) not in {DatabaseError, OperationalError}:
            raise
        sys.exit(f"Database (DATABASE_URL): {str(problem).strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
