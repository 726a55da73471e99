# What a person runs is what CI runs. Everything lives in .venv and .demo; PYTHON=… chooses the interpreter.
.DEFAULT_GOAL := help
SHELL := /bin/sh
# Four Airflow processes start at once: let the first one compile for the others.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
COMPILE := uv pip compile pyproject.toml scripts/build.in --extra local --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

MINUTES ?= 60
PROOF_WORKERS ?= 2

P := airflow_batch_gemini
FLOORS_0_TO_3 := $(P)/exceptions.py,$(P)/batch/*,$(P)/sql/*,$(P)/hooks/*,$(P)/triggers/*,$(P)/links/*
OF_FLOORS_0_TO_3 := tests/unit tests/wire $(patsubst %,tests/airflow/test_%.py,cancel giving_up link trigger)
# Three, so that two cores are busy while one of them waits for a look, a trigger or the disk.
UNIT := $(BIN)/python -m pytest -m "not proof and not scheduler and not live" -n 3 --dist loadfile --no-loadscope-reorder

.NOTPARALLEL:
.PHONY: help demo up down test static unit coverage proofs scheduler side-by-side torture lock clean venv venv-dev

help:
	@echo "make demo    run a batch through a real Airflow against the local cloud, show the results, stop"
	@echo "make up      leave that Airflow running, with the UI on port 8080 and no batch yet; make down stops it"
	@echo "make test    every check, from nothing"
	@echo "make torture kill thousands of processes and count what was paid and landed, and fuzz; MINUTES=n bounds it"
	@echo "make lock    resolve the dependencies anew"
	@echo "make clean   remove what the others made"

venv:
	@scripts/venv.sh $(VENV) requirements.lock

venv-dev:
	@scripts/venv.sh $(VENV) requirements-dev.lock

demo: venv
	@$(BIN)/python scripts/demo.py run

up: venv
	@$(BIN)/python scripts/demo.py up

down:
	@test ! -x $(BIN)/python || $(BIN)/python scripts/demo.py down

test: venv-dev
	@$(MAKE) --no-print-directory static unit coverage side-by-side

# Each of the two mypys has a core of its own.
static:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy & package=$$!; \
	MYPYPATH=tests/kills:tests/unit:tests $(BIN)/mypy --cache-dir .mypy_cache/scripts \
		--disable-error-code import-untyped scripts; scripts=$$?; \
	wait $$package; package=$$?; test $$package = 0 -a $$scripts = 0

# One file stays on one worker: the GoogleSQL analyzer and Google's clients take seconds to load. Coverage, which makes a
# load half as slow again, is measured where the floors that are held to it are tested by themselves.
unit:
	$(UNIT) --cov --cov-report= $(OF_FLOORS_0_TO_3)
	$(UNIT) tests $(addprefix --ignore=,$(OF_FLOORS_0_TO_3))

coverage:
	$(BIN)/coverage report --fail-under=95 --include='$(FLOORS_0_TO_3)'

# Measuring coverage would make each of them twice as slow.
proofs:
	$(BIN)/python -m pytest -m proof -n $(PROOF_WORKERS) --dist loadgroup

# A real Airflow on PostgreSQL, killed, paused and cut off; beside it one that is searched for planted texts.
scheduler:
	@nice -n 5 $(BIN)/python -m pytest -m scheduler tests/security > .planted.log 2>&1 & planted=$$!; \
	$(BIN)/python -m pytest -m scheduler tests/scheduler; scheduler=$$?; \
	wait $$planted; planted=$$?; cat .planted.log; test $$scheduler = 0 -a $$planted = 0

# The proofs compute and the scheduler's tests wait most of the time: together they take hardly longer than one of them.
side-by-side:
	@nice -n 10 $(MAKE) --no-print-directory proofs > .proofs.log 2>&1 & proofs=$$!; \
	$(MAKE) --no-print-directory scheduler; scheduler=$$?; \
	wait $$proofs; proofs=$$?; cat .proofs.log; test $$scheduler = 0 -a $$proofs = 0

torture: venv-dev
	@$(BIN)/python scripts/torture.py --minutes $(MINUTES)

lock:
	$(COMPILE) --upgrade --output-file requirements.lock
	$(COMPILE) --upgrade --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean: down
	rm -rf .demo .venv .planted.log .proofs.log .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
