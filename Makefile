# Set up, run and test Noria. Only python3 and the package registry are needed; all else goes into .venv.
PYTHON ?= python3
PIPELINE ?= students
BIN := .venv/bin
PY := $(BIN)/python
export PIPELINE PROFILE SOURCE PORT SET ONCE
# Compiling the packages of .venv anew in every process would double the time of all that follows.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help setup run test lint lock clean schema env

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## make .venv from the committed lock; nothing outside the checkout is changed
	@$(PYTHON) tools/setup.py $(if $(filter twin,$(PROFILE)),--twin)

run: setup ## start Airflow here and retrain; ONCE=1 ends with the run. PORT= SOURCE= PIPELINE=students SET="trials=8 tuning.folds=5" PROFILE=local|azure|twin
	@set -- $(BIN)/noria up "$$PIPELINE"; \
	[ -z "$$ONCE" ] || [ "$$ONCE" = 0 ] || set -- "$$@" --once; \
	[ -z "$$PORT" ] || set -- "$$@" --port "$$PORT"; \
	[ -z "$$SOURCE" ] || set -- "$$@" --source "$$SOURCE"; \
	for change in $$SET; do set -- "$$@" --set "$$change"; done; \
	case "$$PROFILE" in \
	twin) exec $(PY) -m tests.azure.twin --key-vault -- "$$@" ;; \
	?*) NORIA_PROFILE=$$PROFILE; export NORIA_PROFILE ;; \
	esac; \
	exec "$$@"

test: ## set up with the test tools, then check and test everything
	@$(PYTHON) tools/setup.py --test
	@$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=15

lint: ## style, format, types and the direction of imports; changes no file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: ## compile all locks anew from requirements.in and requirements/*.in
	@$(PY) tools/lock.py

clean: ## remove .venv and caches; the state under ./var stays
	rm -rf .venv .cache tools/azurite/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build include/noria.egg-info

schema: ## write the JSON Schemas of pipeline.yaml and costs.yaml anew
	@$(PY) tools/make_schema.py

env: ## write .env with fresh secrets for docker-compose.yaml
	@$(PYTHON) tools/make_env.py
