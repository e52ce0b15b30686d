PY := .venv/bin/python
.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: schema env
schema: ## write the JSON Schema of pipeline.yaml anew
	@$(PY) tools/make_schema.py

env: ## write .env with fresh secrets for docker-compose.yaml
	@python3 tools/make_env.py
