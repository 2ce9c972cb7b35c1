# Two commands: `make run` serves on 127.0.0.1:8080, `make test` runs the whole suite.
# Both build .venv first, from pinned dependencies with hashes; stamp files make repeated runs instant.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
INSTALL := $(PIP) install --require-hashes --no-deps
WORKERS ?= 3
PROJECTS := pyproject.toml packaging/ai-bridge/pyproject.toml

.PHONY: help run test test-slow soak bench lint lock docs site webui images bridge-binary clean

help:
	@echo "make run        serve on 127.0.0.1:8080 (ARGS='--port 0' passes options on)"
	@echo "make test       the whole suite        make test-slow  what takes minutes"
	@echo "make lint       style, types, layers   make bench      figures, into bench/results.json"
	@echo "make soak       hours of faults        make docs       the generated pages"
	@echo "make site       docs/ as web pages     make images     the pictures in docs/images"
	@echo "make webui      build the web chat     make bridge-binary  dist/ai-bridge, a single file"

run: $(VENV)/.run
	@exec $(BIN)/gateway run $(ARGS)

# Several workers, since most tests wait for something; then, alone, those that measure time. Both are always run, and
# a selection by ARGS that leaves one of the two without a test (5) is no failure.
test: $(VENV)/.dev $(VENV)/.npm
	@$(BIN)/python -m pytest -n $(WORKERS) -m 'not slow and not quiet' $(ARGS); side_by_side=$$?; \
	$(BIN)/python -m pytest -m 'quiet and not slow' $(ARGS); alone=$$?; \
	[ $$side_by_side -ne 5 ] || [ $$alone -ne 5 ] || exit 5; \
	for code in $$side_by_side $$alone; do [ $$code -eq 0 ] || [ $$code -eq 5 ] || exit $$code; done

test-slow: $(VENV)/.dev $(VENV)/.npm
	@$(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

soak: $(VENV)/.dev
	@$(BIN)/python -m bench.soak $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python -m bench.run $(ARGS)

lint: $(VENV)/.dev
	@$(BIN)/ruff check src tests bench examples
	@$(BIN)/mypy
	@PYTHONPATH=src $(BIN)/lint-imports

docs: $(VENV)/.dev
	@$(BIN)/python docs/generate.py

site: $(VENV)/.dev
	@$(BIN)/python docs/site.py $(ARGS)

webui:
	@npm --prefix webui ci --ignore-scripts --no-audit --no-fund
	@npm --prefix webui run build

images: $(VENV)/.dev
	@$(BIN)/python docs/images.py
	@MAKE_IMAGES=1 $(BIN)/python -m pytest tests/browser

bridge-binary: $(VENV)/.binary
	@$(BIN)/python -m PyInstaller --noconfirm --log-level=WARN --workpath build packaging/ai-bridge/one_file.spec
	@echo "dist/ai-bridge"

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + " (make PYTHON=python3.12 …)" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: sudo apt-get install -y python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements.lock requirements-build.lock $(PROJECTS)
	@echo "Installing pinned dependencies into $(VENV) (once)"
	@$(INSTALL) -r requirements-build.lock
	@$(INSTALL) -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e packaging/ai-bridge -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "Installing what the tests need into $(VENV) (once)"
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

$(VENV)/.binary: $(VENV)/.run packaging/ai-bridge/one_file.lock
	@$(INSTALL) -r packaging/ai-bridge/one_file.lock
	@touch $@

$(VENV)/.npm: $(VENV)/.made tests/npm/package-lock.json webui/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js is missing: sudo apt-get install -y nodejs npm" >&2; exit 1; }
	@echo "Installing the MCP servers that the tests drive into tests/npm (once)"
	@npm ci --prefix tests/npm --no-audit --no-fund --loglevel=error
	@npm ci --prefix webui --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# The lock files name no registry: pip takes the one it is configured with. Needs `uv`. The two distributions are
# left out, since they come from this tree.
COMPILE := uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --universal --python-version 3.11
OUTSIDE := build/lock/pyproject.toml packaging/ai-bridge/pyproject.toml --all-extras
lock:
	@mkdir -p build/lock && touch build/lock/README.md build/lock/LICENSE
	@sed '/ai-bridge==/d; /busgate\[/d' pyproject.toml > build/lock/pyproject.toml
	$(COMPILE) $(OUTSIDE) -o requirements.lock
	$(COMPILE) $(OUTSIDE) --group build/lock/pyproject.toml:dev -o requirements-dev.lock
	printf 'hatchling\neditables\n' | $(COMPILE) - -c requirements-dev.lock -o requirements-build.lock

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .import_linter_cache
