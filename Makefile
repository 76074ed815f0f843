# The commands of the README; `make help` lists them.
PYTHON ?= python3.11
GRID ?= quick
MACHINE ?= $(shell hostname)

# A first look takes its samples in one process a benchmark instead of two.
ROUNDS := $(if $(filter quick,$(GRID)),--attribute rounds=1)

# What `make bench-peers` times in turn; on a GPU machine existing:/path/to/python3, one or more.
ENVIRONMENTS ?= virtualenv:3.11 peers:3.11

export RNNBENCH_DEVICE ?= cpu

# Half of pip's time goes into compiling modules that nobody imports.
export PIP_NO_COMPILE := 1

VENV := .venv
BIN := $(VENV)/bin
ASV := $(BIN)/asv

.DEFAULT_GOAL := help
.PHONY: help bench bench-peers test test-gpu lint publish preview compare readme clean prerequisites

help:
	@echo 'make bench [GRID=quick|seed|full]   time a grid at HEAD and write the dashboard; STRICT=1 refuses a busy machine'
	@echo 'make bench-peers [GRID=...]         time it with PyTorch, JAX and the others that pip installs here'
	@echo 'make preview                        show the dashboard at http://127.0.0.1:8080'
	@echo 'make compare A=<commit> B=<commit>  compare two commits that have results'
	@echo 'make readme                         write the tables of README.md from results/'
	@echo 'make publish                        write the dashboard from results/'
	@echo 'make test                           check the code and run the tests'
	@echo 'make test-gpu                       run the tests that need a GPU'
	@echo 'make lint                           check the code only'
	@echo 'make clean                          delete what these commands made, but no results'

bench: $(VENV)/bench
	@echo "==> Timing the $(GRID) grid at HEAD on the machine '$(MACHINE)'. A first run compiles for some minutes."
	@$(BIN)/rnnbench machine '$(MACHINE)' --device '$(RNNBENCH_DEVICE)' $(if $(STRICT),--strict)
	@pattern=$$($(BIN)/rnnbench filter '$(GRID)' scan cudnn cudnn_tf32) && status=0 && \
	{ $(BIN)/rnnbench run --machine '$(MACHINE)' $(ROUNDS) --record-samples --show-stderr --bench "$$pattern" 'HEAD^!' || status=$$?; } && \
	$(MAKE) --no-print-directory publish && exit $$status
	@$(if $(STRICT),$(BIN)/rnnbench report --machine '$(MACHINE)' --commit "$$(git rev-parse HEAD)" --strict --format csv >/dev/null)

bench-peers: $(VENV)/bench
	@echo "==> Timing the $(GRID) grid at HEAD on '$(MACHINE)', in $(ENVIRONMENTS). A first run downloads some GB."
	@$(BIN)/rnnbench machine '$(MACHINE)' --device '$(RNNBENCH_DEVICE)' $(if $(STRICT),--strict)
	@status=0; \
	$(BIN)/rnnbench interleave '$(GRID)' --machine '$(MACHINE)' --device '$(RNNBENCH_DEVICE)' \
	  $(ENVIRONMENTS:%=--environment '%') || status=$$?; \
	$(MAKE) --no-print-directory publish && exit $$status

publish: $(VENV)/bench
	@echo '==> Writing the dashboard from results/.'
	@$(BIN)/rnnbench publish
	@echo "==> The dashboard is in $(CURDIR)/html. To look at it: make preview"

preview: $(VENV)/bench
	@$(BIN)/rnnbench preview

compare: $(VENV)/bench
	@[ -n '$(A)' ] && [ -n '$(B)' ] || { echo 'Which commits? make compare A=<commit> B=<commit>' >&2; exit 2; }
	@$(ASV) compare --machine '$(MACHINE)' '$(A)' '$(B)'

readme: $(VENV)/bench
	@$(BIN)/rnnbench readme README.md

test: lint
	@echo '==> Running the tests. A first run compiles for some minutes.'
	@$(BIN)/python -m pytest

test-gpu: $(VENV)/test
	@$(BIN)/rnnbench doctor --device cuda
	@$(BIN)/python -m pytest -m gpu

lint: $(VENV)/test
	@echo '==> Checking style and types.'
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy rnnbench benchmarks

clean:
	rm -rf $(VENV) .asv html build *.egg-info

# Each says what is missing in one sentence, before anything is made.
prerequisites:
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	{ echo "Python 3.11 is missing: install it, or name one with 'make PYTHON=/path/to/python3.11 ...'." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo 'Python lacks its venv module: install it (on Debian and Ubuntu: apt-get install python3.11-venv).' >&2; exit 2; }
	@[ -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || \
	{ echo "Python's headers are missing: install them (on Debian and Ubuntu: apt-get install python3.11-dev)." >&2; exit 2; }
	@command -v g++ >/dev/null || \
	{ echo 'The C++ compiler g++ is missing: install it (on Debian and Ubuntu: apt-get install g++).' >&2; exit 2; }
	@command -v git >/dev/null || \
	{ echo 'git is missing: install it (on Debian and Ubuntu: apt-get install git).' >&2; exit 2; }
	@git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || \
	{ echo 'This folder is no git checkout with a commit: get the project with git clone, and run make there.' >&2; exit 2; }

$(VENV)/bench: setup.py | prerequisites
	@echo '==> Setting up $(VENV): Theano, NumPy, OpenBLAS, asv.'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[theano,bench]'
	@touch $@

$(VENV)/test: $(VENV)/bench
	@echo '==> Setting up the tests.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[theano,bench,report,test]'
	@touch $@
