# make run     the whole job on a corpus that it renders itself; VIDEOS=/path/to/videos runs it on yours
# make test    the whole test suite, JOBS=2 files at once
# make env     .venv with the patchlake command; CPU=1 takes torch's CPU build where pip would take CUDA's
# make test-long  tests that take minutes each: every kind of fault at two moments; ARGS goes to pytest
# make faults  harm at N seeded moments of each kind, in runs of over 200 units; rows are added to TABLE (hours)
# make check   ruff, mypy, import-linter

PYTHON ?= python3
BIN := .venv/bin
VIDEOS ?=
N ?= 20
JOBS ?= 2
TABLE ?= faults.md
TORCH := $(if $(CPU),--extra-index-url https://download.pytorch.org/whl/cpu)
PARALLEL := $(if $(filter-out 0 1,$(JOBS)),-n $(JOBS) --dist loadgroup)
SOURCES := $(shell find flows tasks cluster -type d -not -name __pycache__)

.PHONY: env run test test-long check faults clean
env: .venv/installed

.venv/requirements: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "patchlake needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "environment: making .venv"; date +%s > /tmp/patchlake-env-$$$$; \
	$(PYTHON) -m venv .venv && \
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(TORCH) "setuptools>=80" wheel && \
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(TORCH) --no-build-isolation -e ".[test]" --config-settings editable_mode=strict && \
	echo "environment: $$(( $$(date +%s) - $$(cat /tmp/patchlake-env-$$$$) )) s"; code=$$?; rm -f /tmp/patchlake-env-$$$$; exit $$code
	@touch $@

# A strict editable install is a tree of links: a new file is seen only after this. A folder's time changes with it.
.venv/installed: .venv/requirements $(SOURCES)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . --config-settings editable_mode=strict
	@touch $@

run: env
	@mkdir -p demo
ifeq ($(VIDEOS),)
	$(BIN)/patchlake demo demo/videos
	$(BIN)/patchlake run recipes/demo.yaml
else
	$(BIN)/patchlake run recipes/videos.yaml --set 'corpus.videos=$(abspath $(VIDEOS))'
endif

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: env
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-long: env
	$(BIN)/python -m pytest $(PARALLEL) -m long $(ARGS)

faults: env
	$(BIN)/python tests/support/fault_campaign.py --each $(N) --table $(TABLE)

clean:
	rm -rf .venv build demo .pytest_cache .mypy_cache .ruff_cache *.egg-info
