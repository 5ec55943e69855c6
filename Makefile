# Dowse: everything a developer runs, each in one word. `make help` lists it.
# Paths of this folder stay relative and unexpanded, so a folder with spaces in its name works.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help search test lint types docs examples bench peers size scale clean

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
REPO ?= .
CORE := .venv/.ready
DEV := .venv-dev/.ready
BROWSER := .venv-dev/.browser
# Under `make -C folder` (make then sets the flag w by itself) REPO and CHECKOUTS still start from the caller's folder.
CALLER := $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(PWD),$(CURDIR))
# What is installed is compiled as it is imported; compiled again in every process, the tests would take half as long again.
unexport PYTHONDONTWRITEBYTECODE
# Handed over through the environment and unexpanded: quotes and dollar signs in a query reach Dowse as they are.
unexport Q REPO
export QUERY = $(value Q)
export TARGET = $(value REPO)
export CALLER

help: ## list these commands
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

search: $(CORE) ## Q="what it does" REPO=.: search a repository (core packages)
	@test -n "$$QUERY" || { echo 'error: no query; say what to look for: make search Q="parse a date" REPO=.' >&2; exit 2; }
	@here="$$PWD"; cd "$$CALLER"; exec "$$here/.venv/bin/dowse" search "$$QUERY" "$$TARGET"

# One more than there are cores: much of the time a test waits for a process of its own. Counting lines costs no time:
# the counter takes itself out of a line once it has run.
test: $(DEV) $(BROWSER) ## run every test; at least 90 % of the lines of src must run
	@covered=.venv-dev/coverage; count=".venv-dev/bin/python -m slipcover"; \
	$$count --source src/dowse --json --out $$covered.json \
		-m pytest -n "$$(($$(getconf _NPROCESSORS_ONLN) + 1))" --dist loadfile --no-loadscope-reorder; \
	$$count --merge $$covered.json --out $$covered.json --fail-under 90 >$$covered.txt || \
		{ echo "error: less than 90 % of the lines are covered; $$covered.txt has what is missing" >&2; exit 1; }

lint: $(DEV) ## ruff: faults and formatting
	@.venv-dev/bin/ruff check .
	@.venv-dev/bin/ruff format --check .

types: $(DEV) ## mypy --strict over src
	@.venv-dev/bin/mypy --num-workers auto

docs: examples ## examples in docstrings; what the documents name and show
	@.venv-dev/bin/python -m pytest tests/test_docs.py tests/test_readme.py

examples: $(DEV) ## examples in docstrings alone
	@.venv-dev/bin/python -m pytest --doctest-modules src

bench: $(CORE) ## CHECKOUTS= DATA= [PEER= MODEL=]: quality and speed of search
	@test -n "$(CHECKOUTS)" && test -n "$(DATA)" || { echo 'error: name the folder of the checkouts and the one of repos.json and annotations/ (docs/evaluate.md): make bench CHECKOUTS=dir DATA=dir' >&2; exit 2; }
	@here="$$PWD"; cd "$$CALLER"; "$$here/.venv/bin/python" "$$here/benchmarks/annotated.py" "$(CHECKOUTS)" \
		--data "$(DATA)" --results "$$here/results" $(if $(PEER),--peer-python "$(PEER)" --peer-model "$(MODEL)")

peers: $(CORE) ## CHECKOUTS= DATA= MODEL=: bench beside semble, bm25s and grep
	@test -n "$(CHECKOUTS)" && test -n "$(DATA)" && test -n "$(MODEL)" || { echo 'error: name the folders of the checkouts, of repos.json and annotations/ (docs/evaluate.md), and of a model2vec model for semble: make peers CHECKOUTS=dir DATA=dir MODEL=dir' >&2; exit 2; }
	@test -x .venv-peers/bin/pip || "$(PYTHON)" -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -qq semble==0.7.0 bm25s==0.3.16
	@here="$$PWD"; cd "$$CALLER"; "$$here/.venv/bin/python" "$$here/benchmarks/annotated.py" "$(CHECKOUTS)" \
		--data "$(DATA)" --results "$$here/results" --peer-python "$$here/.venv-peers/bin/python" --peer-model "$(MODEL)" \
		--peers semble bm25s grep

size: ## install the core into a fresh environment and weigh it
	@"$(PYTHON)" benchmarks/install_size.py

scale: $(CORE) ## speed and memory on generated trees, up to 200,000 documents
	@.venv/bin/python benchmarks/scale.py

clean: ## remove the environments and every cache
	@rm -rf .venv .venv-dev .venv-peers .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip says nothing unless it fails; editable, so that only changed dependencies ask for another installation.
define make_environment
	@test -n "$(PYTHON)" || { echo 'error: no Python found, expected 3.11 or later; install it or name it: make PYTHON=…' >&2; exit 1; }
	@echo 'installing into $(1) (once)' >&2
	@test -x $(1)/bin/pip || "$(PYTHON)" -m venv $(1)
endef

$(CORE): pyproject.toml constraints.txt
	$(call make_environment,.venv)
	@.venv/bin/python -m pip install -qq -c constraints.txt -e .
	@touch $@

# torch comes first and alone: a CPU build that pip finds locally then satisfies everything that follows.
# What is never imported is not compiled: that would take longer than the download.
$(DEV): pyproject.toml constraints.txt
	$(call make_environment,.venv-dev)
	@.venv-dev/bin/python -m pip install -qq --no-compile -c constraints.txt torch
	@.venv-dev/bin/python -m pip install -qq --no-compile -c constraints.txt -e '.[data,train,evaluate,serve,scale,llm,dev]'
	@touch $@

# A failure only warns: the tests that open a page are the ones to say that they need a browser.
$(BROWSER): $(DEV)
	@for browser in chromium chromium-browser google-chrome; do \
		if command -v "$$browser" >/dev/null; then touch $@; exit 0; fi; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		install() { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }; \
	else install() { .venv-dev/bin/playwright install chromium; }; fi; \
	if install >.venv-dev/browser.log 2>&1; then touch $@; \
	else echo 'warning: no browser could be installed (see .venv-dev/browser.log); tests of pages will fail' >&2; fi
