# Every target installs what it needs; `make` alone lists them.

PYTHON ?= python3
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
SCRIPTS := deploy.sh tests/gcloud_stand_in .ci/run
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) --output-file

.DEFAULT_GOAL := help
.PHONY: help run emulators test test-emulators lint types smoke lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

run: $(VENV)/installed ## serve the function on PORT (8080) against a real Firestore emulator
	@PORT=$(PORT) exec $(BIN)/python -m local

emulators: $(VENV)/installed ## serve the function in the Firebase Emulator Suite, behind its hosting
	@exec $(BIN)/python -m local.emulators

test: $(VENV)/installed ## run every test, with branch coverage
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

test-emulators: $(VENV)/installed ## run the tests of the Firebase Emulator Suite
	$(BIN)/python -m pytest tests/emulators $(PYTEST_ARGS)

lint: $(VENV)/installed ## check style with ruff, ShellCheck and shfmt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck $(SCRIPTS)
	$(BIN)/shfmt --indent 2 --case-indent --diff $(SCRIPTS)

smoke: $(VENV)/installed ## check the function at URL, with KEY from the environment and a CALL
	@$(BIN)/python -m ops.smoke

types: $(VENV)/installed ## check types with mypy, strict
	$(BIN)/mypy

lock: $(VENV)/installed ## pin pyproject.toml's dependencies, with hashes; UPGRADE=1 takes newer releases
	$(COMPILE) requirements.txt pyproject.toml
	$(COMPILE) requirements-dev.txt pyproject.toml --group dev
	$(COMPILE) local/java-requirements.txt --group java

clean: ## remove everything that the targets made
	@test ! -L venv || rm venv # the link that `make emulators` makes
	rm -rf $(VENV) .local .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/installed: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.13 …")'
	@echo "installing into $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@touch $@
