# Every target installs what it needs; `make` alone lists them.

PYTHON ?= python3
PORT ?= 8080
SITE_PORT ?= 8081
VENV := .venv
BIN := $(VENV)/bin
NOT_RUN := .local/tests-not-run
WORKFLOWS := $(wildcard .github/workflows/*.yml)
SCRIPTS := deploy.sh $(wildcard ops/deploy/*.sh) tests/bare tests/support/fake_gcloud .ci/run
# For targets whose single tests take longer than pyproject.toml allows a test.
UNLIMITED := --override-ini=faulthandler_timeout=0
LOCKS := requirements.txt ops/requirements.txt requirements-dev.txt local/java-requirements.txt local/node-requirements.txt
INSTALL = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.13 …")' \
	&& $(PYTHON) -m local.venv
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) --output-file

.DEFAULT_GOAL := help
.PHONY: help install run emulators test fuzz soak bench capacity test-emulators test-bench test-openapi test-site test-bare mutants lint types examples smoke audit lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

install: $(VENV)/installed-run ## install what the function and the operator's commands need into .venv

run: $(VENV)/installed-run ## serve the function on PORT (8080) and the call page on SITE_PORT (8081)
	@PORT=$(PORT) SITE_PORT=$(SITE_PORT) exec $(BIN)/python -m local

emulators: $(VENV)/installed-run ## serve the function in the Firebase Emulator Suite, behind its hosting
	@exec $(BIN)/python -m local.emulators

# What is missing is installed first, before two workers could do so at once, or named in a sentence. The
# two workers, each with a Firestore emulator to itself, take a test file at a time: most of the time is
# waiting, for servers to start and budgets to end. In one emulator they would mix up their calls, so where
# one is given, and with PYTEST_ARGS=-n0, the tests run one after another. In the order of the folders short files
# come last, so both workers end at about the same time. Every line of call_api must be covered, unless tests
# were left out: for want of Google's emulator, or since PYTEST_ARGS names some (tests/…).
test: $(VENV)/installed ## run the tests, with branch coverage
	@$(BIN)/python -m local.emulator
	@$(BIN)/coverage erase
	@rm -f $(NOT_RUN)
	$(BIN)/coverage run -m pytest --numprocesses=$(if $(FIRESTORE_EMULATOR_HOST),0,2) --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report $(if $(findstring tests/,$(PYTEST_ARGS)),--fail-under=0,$$(test ! -e $(NOT_RUN) || echo --fail-under=0))

fuzz: $(VENV)/installed ## run the tests that make up their cases with many more, new ones each time
	$(BIN)/python -m pytest tests/api/test_fuzz.py tests/api/test_published_api.py tests/api/test_signing_safety.py \
		$(UNLIMITED) --hypothesis-profile=fuzz $(PYTEST_ARGS)

soak: $(VENV)/installed ## run the tests of faults and clients for longer: a minute of chaos, 10,000 requests
	$(BIN)/python -m pytest tests/faults $(UNLIMITED) --soak $(PYTEST_ARGS)

bench: $(VENV)/installed ## compare the function with four other servers under the same load; 10 minutes; needs wrk
	@exec $(BIN)/python -m bench

capacity: $(VENV)/installed ## simulate 10 to 10,000 requests/s with what `make bench` measured, and write its pages; a minute
	@exec $(BIN)/python -m bench.pages

test-emulators: $(VENV)/installed ## run the tests of the Firebase Emulator Suite
	@$(BIN)/python -m local.emulator embedded firebase-cli java
	$(BIN)/python -m pytest tests/emulators $(PYTEST_ARGS)

test-bench: $(VENV)/installed ## run the tests of the benchmark, with a run as short as can be
	@$(BIN)/python -m local.emulator
	@$(BIN)/python -m bench.node
	$(BIN)/python -m pytest tests/bench $(PYTEST_ARGS)

test-openapi: $(VENV)/installed ## lint openapi.yaml, and read calls with clients that are generated from it
	@$(BIN)/python -m local.emulator
	@$(BIN)/python -m tests.openapi.tools
	$(BIN)/python -m pytest tests/openapi $(PYTEST_ARGS)

test-site: $(VENV)/installed ## run the tests of the call page in Chromium (CHROMIUM names another), Firefox and WebKit
	@$(BIN)/python -m local.emulator
	$(BIN)/python -m pytest tests/unit/test_site_modules.py tests/site tests/local/test_site.py $(PYTEST_ARGS)

test-bare: ## run `make run` and `make test` in a bare Debian; needs root and debootstrap
	@PYTEST_ARGS="$(PYTEST_ARGS)" tests/bare

mutants: $(VENV)/installed ## change call_api in every small way: the tests must notice; an hour or two
	@$(BIN)/python -m tests.mutants $(NAMES)

# The schemas are those that the packages carry: no check asks the network.
lint: $(VENV)/installed ## check style with ruff, scripts with ShellCheck and shfmt, GitHub's files with zizmor
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(BIN):$$PATH" shellcheck $(SCRIPTS)
	$(BIN)/shfmt --indent 2 --case-indent --diff $(SCRIPTS)
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows $(WORKFLOWS)
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --quiet .github

examples: $(VENV)/installed ## write the sample calls, as replies, into openapi.yaml and README.md
	@$(BIN)/python -m ops.examples

smoke: $(VENV)/installed-run ## check the function at URL, with KEY from the environment and a CALL
	@$(BIN)/python -m ops.smoke

types: $(VENV)/installed ## check types with mypy, strict
	$(BIN)/mypy

# What npm installs (the Firebase CLI alone is 480 packages) sees samples alone, without credentials: only
# what is critical there fails, or the audit would fail for weeks on what waits for its makers. Swagger UI is
# published with the site, so every vulnerability counts.
audit: $(VENV)/installed ## look the locked packages up among the known vulnerabilities
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off $(LOCKS:%=--requirement %)
	npm --prefix local/embedded audit --package-lock-only --audit-level=critical
	npm --prefix local/firebase audit --package-lock-only --audit-level=critical
	npm --prefix local/swagger-ui audit --package-lock-only --audit-level=low
	npm --prefix bench/peers/node audit --package-lock-only --audit-level=critical
	npm --prefix tests/openapi/npm audit --package-lock-only --audit-level=critical

# The first says itself that nothing is built from sources, since Cloud Build installs it. The others are installed
# by local/install.py, which says so to pip.
lock: $(VENV)/installed ## pin pyproject.toml's dependencies, with hashes; UPGRADE=1 takes newer releases
	$(COMPILE) requirements.txt --only-binary :all: --emit-build-options pyproject.toml
	$(COMPILE) ops/requirements.txt pyproject.toml --group ops
	$(COMPILE) requirements-dev.txt pyproject.toml --group dev
	$(COMPILE) local/java-requirements.txt --group java
	$(COMPILE) local/node-requirements.txt --group node

clean: ## remove everything that the targets made
	@test ! -L venv || rm venv # the link that `make emulators` makes
	rm -rf $(VENV) .local mutants .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Two stamps in one environment: what running and the operator's commands need, and all of what the other
# targets need.
$(VENV)/installed-run: ops/requirements.txt
	@$(INSTALL) run

$(VENV)/installed: requirements-dev.txt
	@$(INSTALL) dev
