# `make` lists the targets. What they download and build lies in .venv and .cluster; `make clean` removes both.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN    := .venv/bin
PYTEST := $(BIN)/pytest
# Files of tests side by side, one a core; a rank more on the same core would only wait.
SPREAD := OMP_NUM_THREADS=1 $(PYTEST) --numprocesses logical --dist loadfile

.PHONY: help demo test test-fast test-matrix test-chart test-object-storage test-integration test-faults test-e2e test-queues test-survival lint format typecheck generate verify \
        venv lock binaries kueue object-store images cluster-up cluster-down benchmark-job benchmark-recovery benchmark-operator parity clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: venv ## Fine-tune a small model on two nodes of a local cluster (or of KUBECONFIG's) and talk to it
	@$(BIN)/python -m dev.demo.main

test: build-meanwhile lint typecheck verify test-unit test-chart test-object-storage test-integration test-faults-part test-e2e ## All tests but those with a target of their own for their length

.PHONY: build-meanwhile
build-meanwhile:   # in what time the tests leave; who needs a binary waits for it
	@nice -n 19 dev/cluster/binaries.sh all >/dev/null 2>&1 &

test-fast: lint ## What to run on every save
	$(PYTEST) tests/unit tests/golden -m "not slow"

.PHONY: test-unit
test-unit: venv
	$(SPREAD) tests/unit tests/golden

test-matrix: venv ## Every method with every quantisation, ZeRO stage and checkpointing (a quarter of an hour)
	$(PYTEST) tests/matrix

test-chart: venv binaries ## The Helm chart, rendered
	$(PYTEST) tests/chart

test-object-storage: venv object-store ## Sources and results in a real S3 server
	$(SPREAD) tests/object_storage

test-integration: venv binaries ## The operator against a real API server
	$(SPREAD) tests/integration --ignore=tests/integration/test_kueue.py

.PHONY: test-faults-part
test-faults-part: venv binaries
	$(PYTEST) tests/faults

test-faults: venv binaries ## The operator behind a proxy that disturbs each of its writes in every way (half an hour)
	ALL_FAULTS=1 $(PYTEST) tests/faults

test-e2e: venv images cluster-up ## Real kubelets, real images, a real model
	KUBECONFIG= $(PYTEST) tests/e2e --ignore=tests/e2e/test_survival.py --ignore=tests/e2e/test_limits.py \
	  --ignore=tests/e2e/test_kueue.py

test-queues: venv kueue images cluster-up ## Jobs in the queues of a real Kueue (half an hour, ten minutes of it to build Kueue)
	$(PYTEST) tests/integration/test_kueue.py
	KUBECONFIG= $(PYTEST) tests/e2e/test_kueue.py

test-survival: venv images cluster-up ## Jobs on real nodes to which everything happens (twenty minutes)
	KUBECONFIG= $(PYTEST) tests/e2e/test_survival.py tests/e2e/test_limits.py

lint: venv ## ruff, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: venv ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: venv ## mypy, strict
	$(BIN)/mypy

generate: venv ## Write the generated files (CRD) again
	$(BIN)/python -m qlora_api.crd

verify: venv ## Fail when a generated file is stale
	$(BIN)/python -m qlora_api.crd --check

venv: ## .venv with the development tools and a trainer for the CPU
	@dev/venv.sh

lock: ## Compile requirements/*.txt again
	@dev/lock.sh

binaries: ## Build Kubernetes and what it needs from Go modules
	@dev/cluster/binaries.sh

kueue: ## Build Kueue, for the tests with queues
	@dev/cluster/binaries.sh kueue

object-store: ## Build an S3 server, for the tests with object storage
	@dev/cluster/binaries.sh object-store

images: ## Build the two images and push them to the local registry
	@dev/cluster/images.sh

cluster-up: ## Boot a cluster of two nodes; KUBECONFIG=.cluster/kubeconfig
	@dev/cluster/up.sh

benchmark-job: ## After `make demo`: where the job's time went, and what it cost the API server
	@PYTHONPATH=tests:. $(BIN)/python benchmarks/job_timeline.py

benchmark-recovery: venv images cluster-up ## How long a job takes to train on after a fault, and where that time goes
	@KUBECONFIG= PYTHONPATH=tests:. $(BIN)/python benchmarks/recovery.py

benchmark-operator: venv binaries ## The operator beside a null operator on a control plane of its own (ten minutes, a quiet machine)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.operator.main

parity: venv ## The same fine-tuning here and in TRL's SFTTrainer (half an hour)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.parity.main

cluster-down: ## End the cluster and remove all it left on this machine
	@dev/cluster/down.sh

clean: cluster-down ## Also remove what was downloaded and built
	rm -rf .cluster .venv
