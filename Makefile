# `make help` lists these commands.
PYTHON ?= python3
DISTRIBUTION ?= trixie
KILLS ?= 1000
INPUTS ?= 100000
GRID ?= quick
NETWORK ?= lstm
MACHINE ?= $(shell hostname)

# The quick grid gives a first look, so one process takes the samples of a benchmark, instead of two.
ROUNDS := $(if $(filter quick,$(GRID)),--attribute rounds=1)

# Another GRID than these has models, so a report shows them.
REPORTED := $(if $(filter quick seed full,$(GRID)),$(NETWORK),models)

# `make bench-peers` times these environments in turn. On a GPU machine, give one or more existing:/path/to/python3.
ENVIRONMENTS ?= virtualenv:$(VERSION) peers:$(VERSION)

export RNNBENCH_DEVICE := $(or $(RNNBENCH_DEVICE),cpu)

# Another project's packages must not replace those of the environments.
unexport PYTHONPATH

# pip would spend half of its time on compiling modules that nobody imports.
export PIP_NO_COMPILE := 1

# Older versions of pip would warn that they build Theano in a way that newer ones lack.
export PIP_USE_PEP517 := 1

# torch.compile would keep its code in the folder for temporary files.
export TORCHINDUCTOR_CACHE_DIR := $(or $(TORCHINDUCTOR_CACHE_DIR),$(CURDIR)/.asv/torchinductor)

# PyTensor, Theano and killed tests leave temporary files. A command that begins with this removes them at its end.
TIDILY = folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && trap 'exit 130' INT && trap 'exit 143' TERM && \
	export TMPDIR="$$folder"

# A git hook exports variables that name its own repository. Git would use that one instead of this checkout.
unexport $(shell git rev-parse --local-env-vars 2>/dev/null)

# The shell's form of the machine's name, which may hold a quote.
NAMED := '$(subst ','\'',$(MACHINE))'

VENV := .venv
# Programs start through the interpreter: their own first line breaks when the checkout is renamed.
RUN := $(VENV)/bin/python -m
VERSION = $(shell $(VENV)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
STRICTLY := $(if $(filter-out 0,$(STRICT)),--strict)

.DEFAULT_GOAL := help
# `make -j bench publish` must not publish first.
.NOTPARALLEL:
.PHONY: help bench bench-peers test test-gpu test-slurm test-fresh test-kills test-fuzz lint publish preview compare compare-live readme clean prerequisites

help:
	@echo 'make bench [GRID=quick|seed|full]   time a grid of shapes at HEAD, and write the dashboard'
	@echo '                                    (quick: 3 shapes, seed: 10, full: 36; STRICT=1 fails on a busy machine)'
	@echo '     [GRID=models | NETWORK=gru]    time networks of real models, or a GRU or RNN (NETWORK=rnn) instead of an LSTM'
	@echo 'make bench-peers [GRID=...]         do the same, and also time PyTorch, JAX and the other frameworks'
	@echo 'make preview [PORT=8080]            show the dashboard at http://127.0.0.1:PORT, until Ctrl-C'
	@echo 'make compare A=<commit> B=<commit>  compare the results of two commits'
	@echo 'make compare-live A=... B=...       time two commits now, in turn, and fail if B is slower (. is your work tree)'
	@echo 'make readme                         write the tables and pictures of README.md and docs/ from results/'
	@echo 'make publish                        write the dashboard from results/'
	@echo 'make test                           check style and types, and run the tests'
	@echo 'make test-gpu                       run only the tests that need a GPU'
	@echo 'make test-fresh DISTRIBUTION=...    run the commands of README.md in a new minimal Debian (bookworm, trixie)'
	@echo 'make test-slurm                     treat a cluster of Slurm on this machine badly, and check that nothing is lost'
	@echo 'make test-kills [KILLS=1000]        end commands at random moments, and check that no figure is lost'
	@echo 'make test-fuzz [INPUTS=100000]      give commands random input, and check that they answer in a sentence'
	@echo 'make lint                           check style and types only'
	@echo 'make clean                          delete all that these commands made, except results/'

# asv times the commit HEAD with the benchmarks/ of the working tree.
define uncommitted
@git diff --quiet HEAD -- rnnbench setup.py || echo '==> Uncommitted changes in rnnbench/ are not timed: commit them first.'
@git diff --quiet HEAD -- benchmarks || { echo '==> Uncommitted changes in benchmarks/ are timed: these figures are marked.'$(if $(STRICTLY), STRICT=1 refuses them.; exit 2); }
endef

# The messages of a failed run stand far above its end.
FINISH = $(MAKE) --no-print-directory publish && { [ $$status -eq 0 ] || \
	echo "==> The run failed (status $$status). It says why above '==> Writing the dashboard'." >&2; } && exit $$status

bench: $(VENV)/bench
	$(uncommitted)
	@echo "==> Timing the $(GRID) grid at HEAD on the machine" $(NAMED)'. The first run compiles for some minutes.'
	@$(RUN) rnnbench machine $(NAMED) --device '$(RNNBENCH_DEVICE)' $(STRICTLY)
	@$(TIDILY) && pattern=$$($(RUN) rnnbench filter '$(GRID)' --network '$(NETWORK)' --theano --device '$(RNNBENCH_DEVICE)') && status=0 && \
	{ $(RUN) rnnbench run --machine $(NAMED) $(ROUNDS) $(STRICTLY) --record-samples --bench "$$pattern" 'HEAD^!' || status=$$?; } && \
	$(FINISH)
	@$(if $(STRICTLY),$(RUN) rnnbench report --machine $(NAMED) --network '$(REPORTED)' --commit "$$(git rev-parse HEAD)" --strict --format csv >/dev/null)
	@echo; $(RUN) rnnbench report --machine $(NAMED) --network '$(REPORTED)' --commit "$$(git rev-parse HEAD)" --summary
	@echo
	@echo '==> Next: make preview           shows the dashboard; this machine: http://127.0.0.1:8080/?machine='$(NAMED)
	@echo '          make bench-peers       times PyTorch, JAX and others beside these; it downloads some GB'
	@echo '          make bench GRID=seed   times the ten shapes published in 2016'
	@echo '          docs/results-h100.md   has every time on an H100'
	@echo '          docs/method.md         says how they are measured'

bench-peers: $(VENV)/bench
	$(uncommitted)
	@echo "==> Timing the $(GRID) grid at HEAD on the machine" $(NAMED)', in $(ENVIRONMENTS). The first run downloads some GB.'
	@$(RUN) rnnbench machine $(NAMED) --device '$(RNNBENCH_DEVICE)' $(STRICTLY)
	@$(TIDILY) && status=0 && \
	{ $(RUN) rnnbench interleave '$(GRID)' --network '$(NETWORK)' --machine $(NAMED) --device '$(RNNBENCH_DEVICE)' \
	  $(ENVIRONMENTS:%=--environment '%') || status=$$?; } && \
	$(FINISH)

publish: $(VENV)/bench
	@echo '==> Writing the dashboard from results/.'
	@$(RUN) rnnbench publish
	@echo "==> The dashboard is in $(CURDIR)/html. To see it: make preview"

preview: $(VENV)/bench
	@$(RUN) rnnbench preview $(if $(PORT),--port '$(PORT)') || [ $$? -eq 130 ]

compare: $(VENV)/bench
	@[ -n '$(A)' ] && [ -n '$(B)' ] || { echo 'Name two commits: make compare A=<commit> B=<commit>' >&2; exit 2; }
	@rows=$$($(RUN) asv compare --machine $(NAMED) '$(A)' '$(B)') || { echo "$$rows" >&2; echo \
	  'rnnbench history lists the commits that each machine has timed. MACHINE=... names another one than' $(NAMED). >&2; exit 1; }; \
	echo "$$rows" | grep -v '| n/a  *| n/a '

# WHAT has shapes and implementations, and options such as --seconds 30.
compare-live: $(VENV)/bench
	@[ -n '$(A)' ] && [ -n '$(B)' ] || { echo 'Name two commits, or . for your work tree: make compare-live A=HEAD B=.' >&2; exit 2; }
	@$(RUN) rnnbench compare '$(A)' '$(B)' $(WHAT)

readme: $(VENV)/bench
	@$(RUN) rnnbench readme $$(grep -l '^<!-- end -->$$' README.md docs/*.md)

test: lint
	@echo '==> Running the tests. The first run compiles for some minutes.'
	@$(TIDILY) && $(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not alone and not gpu and not slurm'
	@echo '==> Running the tests that measure times or need a GPU, one by one.'
	@$(TIDILY) && $(RUN) pytest -m 'alone or gpu'

test-gpu: $(VENV)/test
	@$(RUN) rnnbench doctor --device cuda
	@$(RUN) pytest -m gpu

test-slurm: $(VENV)/test
	@$(RUN) pytest -m slurm

test-kills: $(VENV)/test
	@PYTHONPATH=tests $(RUN) helpers.kills '$(KILLS)'

test-fuzz: $(VENV)/test
	@PYTHONPATH=tests $(RUN) helpers.fuzz '$(INPUTS)'

test-fresh:
	@tests/fresh/run '$(DISTRIBUTION)'

lint: $(VENV)/test
	@echo '==> Checking style and types.'
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy rnnbench benchmarks

clean:
	rm -rf $(VENV) .asv html build *.egg-info

# If something is missing, say so in one sentence before making anything. The Python counts only until .venv is there.
prerequisites:
	@[ '$(filter quick seed full models,$(GRID))' ] || grep -q '^    "$(GRID)": Model($$' rnnbench/network/models.py || \
	{ echo 'GRID=$(GRID): it must be quick, seed, full, models, or a name from docs/models.md.' >&2; exit 2; }
ifeq ($(wildcard $(VENV)/bench),)
	@found=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	case $$found in 3.10 | 3.11 | 3.12 | 3.13) ;; *) \
	  echo "Python 3.10, 3.11, 3.12 or 3.13 is missing: '$(PYTHON)' is $${found:-not there}. Install one, and name it with" \
	    "'make PYTHON=/path/to/python3.13 ...': apt-get install python3-venv python3-dev, or uv python install 3.13, or" \
	    "pyenv install 3.13, or conda create --name rnnbench python=3.13." >&2; exit 2;; esac; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install it" \
	  "(on Debian and Ubuntu: apt-get install python$$found-venv)." >&2; exit 2; }; \
	[ -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || { \
	  echo "Python's headers are missing: install them (on Debian and Ubuntu: apt-get install python$$found-dev)." >&2; exit 2; }
endif
	@command -v g++ >/dev/null || \
	{ echo 'The C++ compiler g++ is missing: install it (on Debian and Ubuntu: apt-get install g++).' >&2; exit 2; }
	@command -v git >/dev/null || \
	{ echo 'git is missing: install it (on Debian and Ubuntu: apt-get install git).' >&2; exit 2; }
	@! LC_ALL=C git rev-parse 2>&1 | grep -q 'dubious ownership' || \
	{ echo "git refuses this checkout, because another user owns it: chown it, or run git config --global --add safe.directory '$(CURDIR)'." >&2; exit 2; }
	@words=$$(git rev-parse --verify HEAD 2>&1) || { \
	  echo 'git finds no commit here. If this is no checkout, get the project with git clone, and run make there.' \
	    "git's own words: $$words" >&2; exit 2; }

$(VENV)/bench: setup.py | prerequisites
	@echo '==> Installing Theano, NumPy, OpenBLAS and asv in $(VENV).'
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) pip install --quiet --disable-pip-version-check --editable '.[theano,bench]'
	@$(VENV)/bin/python rnnbench/theano_runtime/install.py
	@touch $@

$(VENV)/test: $(VENV)/bench
	@echo '==> Installing what the tests need in $(VENV).'
	@$(RUN) pip install --quiet --disable-pip-version-check --editable '.[theano,bench,cluster,report,test]'
	@# NVRTC compiles the CUDA kernels in the tests. From a folder of its own, it can't replace a GPU machine's CUDA.
	@$(RUN) pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/nvrtc \
		'nvidia-cuda-nvrtc==13.0.88; sys_platform == "linux"'
	@touch $@
