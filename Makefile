# `make run` from a fresh clone is all it takes; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SOURCES := manage.py gunicorn.conf.py connectapp accounts integrations bench tests

.PHONY: help install run test bench growth soak pictures check lock sbom

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

install: $(VENV)/installed ## the environment only: .venv with the locked dependencies

$(VENV)/installed: requirements-dev.txt requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements-dev.txt
	@touch $@

run: install ## stand-in SnapInspect, web app and worker, with demo data; Ctrl-C stops all of it
	@exec $(PY) -m connectapp.development

test: install ## the whole test suite, on SQLite and on PostgreSQL
	@$(PY) -m tests

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
