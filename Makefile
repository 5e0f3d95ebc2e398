# `make demo` and `make test` need Python 3.11 (or later) and make; they install all else into .venv: the demo
# what studies need, the tests and linters their own tools beside it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORES ?= all
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_SITE := $(VENV)/.ready-site
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Studies whose text is public; xglm-257m and paper need text of yours: make plan STUDIES=config/studies/paper.yaml
STUDIES ?= config/config.yaml $(addprefix config/studies/,demo-seeds.yaml demo-clone.yaml demo-doses.yaml demo-choices.yaml demo-syntax.yaml \
  real-text.yaml bloom-560m.yaml bloom-7b1.yaml)

.DEFAULT_GOAL := help
.PHONY: help env demo planted test test-fast test-engine test-slurm lint format docs site snapshots plan bench memory cost gpu gpu-wheels clean

help:  ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY)  ## make the environment in .venv: what studies need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "babelscope needs Python 3.11 or later; this is %s. Name another with: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	@echo "installing the environment into $(VENV) (some minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(READY_DEV): $(READY)
	@echo "installing what tests and linters need"
	@$(INSTALL) --editable ".[dev]"
	@touch $@

$(READY_SITE): $(READY)
	@echo "installing what the docs site needs"
	@$(INSTALL) --editable ".[docs]"
	@touch $@

demo: $(READY)  ## run the demo study to its report
	$(BIN)/snakemake --cores $(CORES)

planted: $(READY)  ## write checkpoints whose findings are known, study them, compare
	$(BIN)/python -m babelscope.planted data/planted
	$(BIN)/snakemake --cores $(CORES) --configfile config/studies/planted.yaml
	$(BIN)/python -m babelscope.planted compare results/planted

# Files of tests are shared out, those on the engine first, since they take longest. Those of Slurm, one cluster for
# all, mostly wait: they run beside and are shown at the end. PYTEST_ADDOPTS goes to all.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest
test: $(READY_DEV)  ## all tests; the browser's and Slurm's where these are installed; WORKERS=4: so many at once
	@$(PYTEST) tests/slurm >.pytest-slurm.log 2>&1 & slurm=$$!; \
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/workflow tests/browser tests/unit; status=$$?; \
	wait $$slurm; status=$$((status + $$?)); \
	cat .pytest-slurm.log; exit $$status

test-fast: $(READY_DEV)  ## the unit tests alone
	$(BIN)/python -m pytest tests/unit

test-engine: $(READY_DEV)  ## those on the engine and in the browser alone
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/workflow tests/browser

test-slurm: $(READY_DEV)  ## those on a real Slurm alone
	$(PYTEST) tests/slurm

lint: $(READY_DEV)  ## ruff, mypy, import rules, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

format: $(READY_DEV)  ## let ruff and snakefmt rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

docs: $(READY_DEV)  ## renew what is made of the code: schema, keys, picture of the rooms, results/README.md
	$(BIN)/python docs/make_keys.py
	$(BIN)/python docs/make.py
	$(BIN)/python docs/make_models.py

site: $(READY_SITE)  ## the docs site in docs/_build/html, warnings as errors; notebooks run on the demo's results, if there
	HF_HUB_OFFLINE=1 $(BIN)/sphinx-build -q -W --keep-going -b html -c docs . docs/_build/html
	@echo "docs/_build/html/docs/index.html"

snapshots: $(READY_DEV)  ## write tests/workflow/snapshots anew; review the diff
	$(BIN)/python -m pytest -q tests/workflow/test_snapshots.py --renew

plan: $(READY)  ## dry-run the studies in config/ (their text must be there, see config/README.md)
	@for study in $(STUDIES); do \
	  echo "== $$study"; \
	  $(BIN)/snakemake --cores $(CORES) --dry-run --quiet host reason rules --configfile $$study || exit 1; \
	done

bench: $(READY)  ## measure the speed (half an hour, idle machine); ONLY=store,demo: some rows; writes docs/benchmarks.md
	$(BIN)/python benchmarks/run.py $(if $(ONLY),--only $(ONLY))

memory: $(READY)  ## measure memory at true size, 15 GB at most; writes docs/memory.md
	$(BIN)/python benchmarks/measure_memory.py

cost: $(READY)  ## compare plans with runs, plan the paper's study; writes docs/cost.md, docs/paper.md
	$(BIN)/python benchmarks/cost.py

# On the machine as it is: what its Python lacks comes from .gpu-wheels, and nothing is installed.
GPU_PYTHON ?= $(firstword $(wildcard $(BIN)/python) $(PYTHON))
gpu:  ## check and measure on a GPU, 8 minutes; without one: make gpu DEVICE=cpu SMALL=1
	$(GPU_PYTHON) benchmarks/gpu/run.py --device $(or $(DEVICE),cuda) $(if $(SMALL),--small) $(if $(PAGE),--page $(PAGE))

gpu-wheels:  ## fetch what a bare GPU machine lacks, for its Python: make gpu-wheels GPU_VERSION=3.12
	$(GPU_PYTHON) benchmarks/gpu/carried.py fetch --python $(or $(GPU_VERSION),3.12)

clean:  ## remove the environment and all results
	rm -rf $(VENV) results/*/ .snakemake
