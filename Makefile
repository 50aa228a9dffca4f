# Everything a person runs. `make try` and `make test` do their own set-up; a second run starts at once.

VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# A FILE:LINE:COL of yours for `make try`; without it the example is filled in.
AT ?=
# The address of PyTorch's index of CPU builds, as the install selector on pytorch.org prints it.
# Without it pip takes torch from wherever it is set up to look, on Linux usually with CUDA inside.
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help try test editors test-editors setup lint fmt bench train-smoke kernels release docs \
  size clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

try: $(VENV)/.ready ## set up, then watch the embedded model fill a hole (AT=FILE:LINE:COL for one of yours)
	@$(BIN)/infill-ls $(if $(AT),infill $(AT) --watch,try)

# Small tensors gain nothing from a second thread, and one that spins starves whatever runs beside it.
test test-editors train-smoke: export OMP_NUM_THREADS := 1

# Tests that measure processes come by themselves, one at a time, and last those that mostly wait for
# servers and editors, two at a time.
MEASURED := tests/benchmarks/test_soak.py tests/benchmarks/test_typing.py
PROCESSES := tests/e2e tests/editors
test: lint ## set up, then ruff, mypy and every test, in VS Code where `make editors` fetched it
	$(BIN)/python -m pytest -rs -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(MEASURED:%=--ignore=%) $(PROCESSES:%=--ignore=%)
	$(BIN)/python -m pytest -rs $(MEASURED)
	$(BIN)/python -m pytest -rs -n 2 --dist=loadfile $(PROCESSES)

editors: $(VENV)/.ready-to-test ## fetch Neovim and VS Code for the tests, into the cache, installing nothing
	@PYTHON=$(abspath $(BIN)/python) tests/editors/fetch.sh

test-editors: editors ## fetch what is missing, then only the tests in real editors, how fast they are included
	INFILL_EDITORS=required $(BIN)/python -m pytest tests/editors

setup: $(VENV)/.ready-to-test ## a virtual environment in .venv with everything for development

lint: $(VENV)/.ready-to-test ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/.ready-to-test ## format and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready ## latency and quality on this machine, last line JSON
	@$(BIN)/infill-ls bench

train-smoke: $(VENV)/.ready-to-test ## the whole training on very little data, to see that it runs
	$(BIN)/python -m pytest tests/train

kernels: $(VENV)/.ready ## the routines for CPUs, for Linux and Windows: wants gcc's cross-compilers
	PYTHONPATH=kernels $(BIN)/python -m infill_kernels.prebuilt.build

release: $(VENV)/.ready-to-test ## sdist, wheel, VS Code's extension, Neovim's plugin: built, checked, with checksums, in dist/
	@$(PIP_INSTALL) 'twine>=6'
	@PYTHONPATH=.ci $(BIN)/python -m release

docs: $(VENV)/.ready-to-test ## the documentation as a site, in site/, with its links checked
	@$(PIP_INSTALL) 'mkdocs>=1.6,<2' 'mkdocs-material>=9.5'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet && echo "site/index.html"

size: ## lines per package: a report that never fails
	@for folder in infill_ls engine/infill_engine engine/train kernels/infill_kernels tests; do \
	  find $$folder -name '*.py' -exec cat {} + 2>/dev/null | awk -v folder=$$folder \
	    'NF { lines++ } END { printf "  %6d  %s\n", lines, folder }'; \
	done

clean: ## remove the virtual environment and every cache
	rm -rf $(VENV) dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The first interpreter that runs, is new enough, and can make a virtual environment.
FIND_PYTHON = for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
  "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
    >/dev/null 2>&1 && break; python=; done

# torch is the one large dependency: without a GPU, its CPU build.
PIP_INSTALL = if nvidia-smi -L 2>/dev/null | grep -q GPU; then set --; \
  else set -- -c .ci/constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)); fi; \
  $(BIN)/python -m pip install -qq --disable-pip-version-check "$$@"

$(BIN)/python:
	@$(FIND_PYTHON); if [ -z "$$python" ]; then echo "infill-ls needs Python 3.11 to 3.14 with its" \
	  "venv module (on Debian and Ubuntu: apt install python3-venv); none was found." \
	  "Name one: make try PYTHON=/path/to/python3" >&2; exit 1; fi; \
	  echo "making $(VENV) with $$("$$python" --version)"; "$$python" -m venv $(VENV)

$(VENV)/.ready: pyproject.toml .ci/constraints.txt | $(BIN)/python
	@echo "installing infill-ls and torch into $(VENV); minutes, once"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.ready-to-test: pyproject.toml .ci/constraints.txt | $(BIN)/python
	@echo "installing infill-ls, torch and the test tools into $(VENV); minutes, once"
	@$(PIP_INSTALL) -e '.[test,gpu,gguf,train]'
	@touch $(VENV)/.ready $@
