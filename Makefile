# `make run` from a fresh clone is all it takes; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
NEXT := .venv-next
NEXT_DJANGO := django[argon2]>=6.1,<6.2
NEXT_PYTHON ?= $(shell for python in python3.13 $$(pyenv whence --path python3.13 2>/dev/null); do \
	"$$python" -c "" 2>/dev/null && echo "$$python" && break; done)
SOURCES := manage.py gunicorn.conf.py connectapp accounts integrations bench tests docs/examples

.PHONY: help install run test test-slow test-next bench growth soak pictures check lock sbom

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

install: $(VENV)/installed ## the environment only: .venv with the locked dependencies

# The loop speaks while pip is silent, which it is for as long as it unpacks. Python compiles what it imports anyway.
$(VENV)/installed: requirements-dev.txt requirements.txt
	@echo "Installing the locked packages into $(VENV); later runs find them there"
	@(while sleep 5 >/dev/null 2>&1; do echo "... still installing"; done) & trap "kill $$! 2>/dev/null" EXIT INT TERM; \
	set -e; \
	$(PYTHON) -m venv $(VENV); \
	$(PY) -m pip install --disable-pip-version-check --progress-bar on --no-compile --require-hashes -r requirements-dev.txt
	@touch $@

run: install ## stand-in SnapInspect, web app, worker and a sample product, with demo data; Ctrl-C stops all of it
	@exec $(PY) -m connectapp.development

test: install ## the test suite, on SQLite and on PostgreSQL at the same time
	@$(PY) -m tests

test-slow: install ## the tests that take many processes, kills or minutes, on both databases
	@$(PY) -m tests --slow

test-next: $(NEXT)/installed ## what needs neither Chromium nor other processes, on Python 3.13 and the next Django
	@$(NEXT)/bin/python -m pytest -m "not browser and not processes and not slow"

# Without a lock. The override lifts the bound on Django in pyproject.toml, which keeps production on the LTS.
$(NEXT)/installed: pyproject.toml Makefile
	@test -n "$(NEXT_PYTHON)" || { \
	echo "Python 3.13 is missing (apt-get install python3.13-venv, pyenv install 3.13, or NEXT_PYTHON=its path)"; exit 1; }
	@echo "Installing the newest packages and $(NEXT_DJANGO) into $(NEXT)"
	@$(NEXT_PYTHON) -m venv --clear $(NEXT)
	@$(NEXT)/bin/python -m pip install --disable-pip-version-check --quiet uv
	@echo "$(NEXT_DJANGO)" | $(NEXT)/bin/uv pip install --python $(NEXT)/bin/python --override - --extra dev -r pyproject.toml
	@touch $@

bench: install ## how fast it is, beside reference points measured in turn; table into docs/performance.md
	@$(PY) -m bench

growth: install ## what a million events cost, as ratios against a thousand, on PostgreSQL; table into docs/growth.md
	@$(PY) -m bench.growth

soak: install ## the score card at its full size, figures into docs/reliability.md; ROWS="R1 R3" for some
	@ROWS="$(ROWS)" $(PY) -m tests.commands.soak

pictures: install ## the pictures of the README, taken from the real pages into docs/pictures/
	@$(PY) -m tests.commands.pictures

check: install ## lint, format, types, templates, missing migrations, deployment check
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/mypy $(SOURCES)
	$(VENV)/bin/djlint templates --check --lint --quiet
	@$(PY) -m tests.commands.production manage.py makemigrations --check --dry-run
	@$(PY) -m tests.commands.production manage.py check --deploy --fail-level WARNING
	@$(PY) -m tests.commands.vulnerabilities

sbom: install ## the bill of materials of production, CycloneDX, into var/sbom.json
	@mkdir -p var
	@$(VENV)/bin/cyclonedx-py requirements requirements.txt --output-reproducible --output-file var/sbom.json
	@echo "Written: var/sbom.json"

lock: install ## writes the lock files anew from pyproject.toml
	$(VENV)/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade --extra postgres --extra redis --extra metrics pyproject.toml --output-file requirements.txt
	$(VENV)/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade --extra dev --constraint requirements.txt pyproject.toml --output-file requirements-dev.txt
