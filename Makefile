# Two commands do everything: `make demo` and `make test`. Both create .venv when it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
TYPED := engine workers api_min
BESIDE := -n auto --dist loadscope --no-loadscope-reorder
FAST := $(addprefix tests/,rules catalog carriers simulation dispatch)
TIDY := $(TYPED) $(wildcard tests deploy)

# Images of Python often forbid bytecode files. Then each of the many processes below compiles the engine for itself, and
# pytest rewrites every assertion again in every run.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo dev test test-fast lint bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv from the hash-pinned requirements.lock

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Carillon needs Python 3.11 or newer, '$(PYTHON)' is not: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Installing Carillon's dependencies into $(VENV) (once, about a minute) …"
	@$(PYTHON) -m venv $(VENV)
	@PIP_ROOT_USER_ACTION=ignore $(PIP) install --require-hashes -r requirements.lock
	@PIP_ROOT_USER_ACTION=ignore $(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## run the main job on 5,000 real-looking rows, under two minutes
	@$(BIN)/carillon demo

dev: $(STAMP) ## everything in one terminal, data kept in .carillon/
	@$(BIN)/carillon dev

test: $(STAMP) ## the whole test suite
	@$(BIN)/pytest $(BESIDE)

test-fast: $(STAMP) ## rules, carriers, simulation and dispatch: under a minute
	@$(BIN)/pytest $(BESIDE) -p no:schemathesis -m "not slow" $(FAST)

lint: $(STAMP) ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check $(TIDY)
	@$(BIN)/ruff format --check $(TIDY)
	@$(BIN)/mypy --strict $(TYPED)
	@$(BIN)/lint-imports

bench: $(STAMP) ## measure; `carillon bench --json` for machines
	@$(BIN)/carillon bench

lock: ## resolve requirements.lock again (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv" >&2; exit 1; }
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev \
		--no-header --no-annotate pyproject.toml -o requirements.lock

clean: ## remove the environment, caches and development data
	rm -rf $(VENV) .carillon build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find engine workers api_min tests -name __pycache__ -type d -prune -exec rm -rf {} +
