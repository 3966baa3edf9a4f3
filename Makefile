# Everything runs in .venv, which these targets make themselves. Needs: python3 (>= 3.11, with venv), a C++ compiler for DeepSpeed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
READY := $(VENV)/.ready
DISTRIBUTIONS := crds operator trainer_image
PACKAGES := crds/hardening_api operator/hardening_operator trainer_image/hardening_trainer tools/generate tools/prose.py tools/site

# IMAGE_PREFIX=registry.example.com/ml/  IMAGE_FLAGS="--build-arg BASE_IMAGE=... --secret id=uv,src=uv.toml"
IMAGE_PREFIX ?=
IMAGE_TAG ?= $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' operator/pyproject.toml)
IMAGE_BUILDER ?= $(shell docker info >/dev/null 2>&1 && echo docker build || echo buildah build --layers --isolation chroot)
IMAGE_FLAGS ?=
IMAGE_BUILD = $(IMAGE_BUILDER) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) $(IMAGE_FLAGS)

# The locks name no package index, and of this workspace only what it asks for.
LOCK = $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	--no-emit-package hardening-api --no-emit-package hardening-operator --no-emit-package hardening-trainer

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false
# Without bytecode on disk every process takes 10 seconds more to import torch and transformers.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup lint format generate docs test images cluster-tools cluster-images cluster-up cluster-down e2e e2e-full demo \
	gpu-wheels gpu-bench lock clean

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## Make the virtual environment

$(READY): requirements.lock $(DISTRIBUTIONS:%=%/pyproject.toml)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 venv is missing: apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m ensurepip -q 2>/dev/null; $(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps $(DISTRIBUTIONS:%=-e ./%)
	@touch $(READY)

lint: $(READY) ## Style, types, import rules, declared dependencies, generated files, prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	for distribution in $(DISTRIBUTIONS); do (cd $$distribution && ../$(BIN)/deptry .) || exit 1; done
	$(BIN)/python -m tools.generate --check
	$(BIN)/python -m tools.prose

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(READY) ## CRD YAML, API reference, metrics glossary, alert rules and dashboard from the code
	$(BIN)/python -m tools.generate

docs: $(READY) ## The documentation as a searchable site in site/, every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "Read it: $(BIN)/python -m http.server -d site"

test: $(READY) ## All tests; no network, no GPU, under 10 minutes
	$(BIN)/pytest -n 2 --dist loadgroup --durations 15 $(TESTS)

images: ## Build the operator's and the trainer's image with docker or buildah
	$(IMAGE_BUILD) -t $(IMAGE_PREFIX)hardening-operator:$(IMAGE_TAG) -f operator/Dockerfile .
	$(IMAGE_BUILD) -t $(IMAGE_PREFIX)hardening-trainer:$(IMAGE_TAG) -f trainer_image/Dockerfile .

cluster-tools: $(READY) ## Build the programs of that Kubernetes, and what `make test` uses where it is
	$(BIN)/python -m tools.cluster tools

cluster-images: $(READY) ## Build the images its tests need; load them if it runs
	$(BIN)/python -m tools.cluster images

cluster-up: $(READY) ## A real single-node Kubernetes on this machine (root, Go)
	$(BIN)/python -m tools.cluster up
	@$(BIN)/python -m tools.cluster env

cluster-down: $(READY) ## End it, leave nothing but built tools, images and logs
	$(BIN)/python -m tools.cluster down

e2e: $(READY) ## Tests on that Kubernetes, or on the one E2E_CONTEXT names
	E2E=1 $(BIN)/pytest tests/cluster --durations 25 $(E2E_FLAGS)

e2e-full: $(READY) ## All of that, the SmolLM2 example in the cluster, and a long search by hypothesis: an hour and more
	$(BIN)/pytest tests --ignore tests/cluster -m hypothesis --hypothesis-profile long --timeout 3600 --durations 5
	E2E_SMOLLM2=1 $(MAKE) e2e

demo: $(READY) ## Harden SmolLM2-135M-Instruct into runs/
	$(BIN)/hardening run examples/smollm2-135m.yaml --workspace runs/smollm2-135m
	$(BIN)/hardening report runs/smollm2-135m

# On a machine with a GPU, by the Python that has torch there; GPU_FLAGS="--output FILE". What it lacks lies in GPU_WHEELS.
GPU_PYTHON ?= python3
GPU_WHEELS ?= .gpu-wheels
GPU_FLAGS ?=

gpu-wheels: $(READY) ## Wheels that a GPU machine's Python may lack, into .gpu-wheels
	PYTHON=$(BIN)/python benchmarks/gpu_wheels.sh $(GPU_WHEELS)

gpu-bench: ## Benchmarks of one GPU, at most 8 minutes
	$(GPU_PYTHON) benchmarks/gpu.py $(if $(wildcard $(GPU_WHEELS)/*.whl),--wheels $(GPU_WHEELS)) $(GPU_FLAGS)

lock: ## Resolve requirements.lock again, for all distributions and groups, and those of the images from it
	$(LOCK) --group dev --group bench --group image -o requirements.lock
	$(LOCK) --no-annotate operator/pyproject.toml --constraint requirements.lock -o operator/requirements.lock
	$(LOCK) --no-annotate trainer_image/pyproject.toml --extra demo --constraint requirements.lock -o trainer_image/requirements.lock

clean: ## Remove the virtual environment and caches, keep runs/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache site
