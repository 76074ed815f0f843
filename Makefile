# `make help` lists these commands.
PYTHON ?= python3.11
GRID ?= quick
MACHINE ?= $(shell hostname)

# The quick grid gives a first look, so one process takes the samples of a benchmark, instead of two.
ROUNDS := $(if $(filter quick,$(GRID)),--attribute rounds=1)

# `make bench-peers` times these environments in turn. On a GPU machine, give one or more existing:/path/to/python3.
ENVIRONMENTS ?= virtualenv:3.11 peers:3.11

export RNNBENCH_DEVICE ?= cpu

# pip would spend half of its time on compiling modules that nobody imports.
export PIP_NO_COMPILE := 1

VENV := .venv
BIN := $(VENV)/bin
ASV := $(BIN)/asv

.DEFAULT_GOAL := help
.PHONY: help bench bench-peers test test-gpu lint publish preview compare readme clean prerequisites

help:
	@echo 'make bench [GRID=quick|seed|full]   time a grid of shapes at HEAD, and write the dashboard'
	@echo '                                    (quick: 3 shapes, seed: 10, full: 36; STRICT=1 fails on a busy machine)'
	@echo 'make bench-peers [GRID=...]         do the same, and also time PyTorch, JAX and the other frameworks'
	@echo 'make preview                        show the dashboard at http://127.0.0.1:8080, until Ctrl-C'
	@echo 'make compare A=<commit> B=<commit>  compare the results of two commits'
	@echo 'make readme                         write the tables and pictures of README.md and docs/ from results/'
	@echo 'make publish                        write the dashboard from results/'
	@echo 'make test                           check style and types, and run the tests'
	@echo 'make test-gpu                       run only the tests that need a GPU'
	@echo 'make lint                           check style and types only'
	@echo 'make clean                          delete all that these commands made, except results/'

bench: $(VENV)/bench
	@echo "==> Timing the $(GRID) grid at HEAD on the machine '$(MACHINE)'. The first run compiles for some minutes."
	@$(BIN)/rnnbench machine '$(MACHINE)' --device '$(RNNBENCH_DEVICE)' $(if $(STRICT),--strict)
	@pattern=$$($(BIN)/rnnbench filter '$(GRID)' --theano --device '$(RNNBENCH_DEVICE)') && status=0 && \
	{ $(BIN)/rnnbench run --machine '$(MACHINE)' $(ROUNDS) --record-samples --bench "$$pattern" 'HEAD^!' || status=$$?; } && \
	$(MAKE) --no-print-directory publish && exit $$status
	@$(if $(STRICT),$(BIN)/rnnbench report --machine '$(MACHINE)' --commit "$$(git rev-parse HEAD)" --strict --format csv >/dev/null)
	@echo; $(BIN)/rnnbench report --machine '$(MACHINE)' --commit "$$(git rev-parse HEAD)" --summary
	@echo
	@echo '==> Next: make preview           shows the dashboard'
	@echo '          make bench-peers       times PyTorch, JAX and others beside these; it downloads some GB'
	@echo '          make bench GRID=seed   times the ten shapes published in 2016'
	@echo '          docs/results-h100.md   has every time on an H100'
	@echo '          docs/method.md         says how they are measured'

bench-peers: $(VENV)/bench
	@echo "==> Timing the $(GRID) grid at HEAD on the machine '$(MACHINE)', in $(ENVIRONMENTS). The first run downloads some GB."
	@$(BIN)/rnnbench machine '$(MACHINE)' --device '$(RNNBENCH_DEVICE)' $(if $(STRICT),--strict)
	@status=0; \
	$(BIN)/rnnbench interleave '$(GRID)' --machine '$(MACHINE)' --device '$(RNNBENCH_DEVICE)' \
	  $(ENVIRONMENTS:%=--environment '%') || status=$$?; \
	$(MAKE) --no-print-directory publish && exit $$status

publish: $(VENV)/bench
	@echo '==> Writing the dashboard from results/.'
	@$(BIN)/rnnbench publish
	@echo "==> The dashboard is in $(CURDIR)/html. To see it: make preview"

preview: $(VENV)/bench
	@$(BIN)/rnnbench preview

compare: $(VENV)/bench
	@[ -n '$(A)' ] && [ -n '$(B)' ] || { echo 'Name two commits: make compare A=<commit> B=<commit>' >&2; exit 2; }
	@$(ASV) compare --machine '$(MACHINE)' '$(A)' '$(B)'

readme: $(VENV)/bench
	@$(BIN)/rnnbench readme $$(grep -l '^<!-- end -->$$' README.md docs/*.md)

test: lint
	@echo '==> Running the tests. The first run compiles for some minutes.'
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

# If something is missing, say so in one sentence before making anything.
prerequisites:
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	{ echo "Python 3.11 is missing: install it, or name one with 'make PYTHON=/path/to/python3.11 ...'." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo "Python's venv module is missing: install it (on Debian and Ubuntu: apt-get install python3.11-venv)." >&2; exit 2; }
	@[ -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || \
	{ echo "Python's headers are missing: install them (on Debian and Ubuntu: apt-get install python3.11-dev)." >&2; exit 2; }
	@command -v g++ >/dev/null || \
	{ echo 'The C++ compiler g++ is missing: install it (on Debian and Ubuntu: apt-get install g++).' >&2; exit 2; }
	@command -v git >/dev/null || \
	{ echo 'git is missing: install it (on Debian and Ubuntu: apt-get install git).' >&2; exit 2; }
	@git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || \
	{ echo 'This folder is not a git checkout with a commit: get the project with git clone, and run make there.' >&2; exit 2; }

$(VENV)/bench: setup.py | prerequisites
	@echo '==> Installing Theano, NumPy, OpenBLAS and asv in $(VENV).'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[theano,bench]'
	@touch $@

$(VENV)/test: $(VENV)/bench
	@echo '==> Installing what the tests need in $(VENV).'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[theano,bench,report,test]'
	@touch $@
