# seictl. `make` prints the targets.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
VERSION_PKG := sei.io/seictl/internal/version
LDFLAGS := -s -w -X $(VERSION_PKG).Version=$(VERSION) -X $(VERSION_PKG).Commit=$(COMMIT)

# Which lab: real (kubelet, containers, root) or sim (simulated pods, thousands of them, no root).
export LAB ?= real
# Where the lab keeps its state, and the kubeconfig of its cluster.
ifeq ($(LAB),sim)
  export SEICTL_LAB_DIR ?= $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/seictl-sim
else
  export SEICTL_LAB_DIR ?= /var/lib/seictl-lab
endif
LAB_KUBECONFIG := $(SEICTL_LAB_DIR)/kubeconfig
# A make on the sim tier, whatever tier this one is for.
ON_SIM := env -u SEICTL_LAB_DIR LAB=sim $(MAKE)

# What go test gets on top, for example GOTESTFLAGS='-race -v -run TestSidecarTLS'.
GOTESTFLAGS ?=
E2E_TIMEOUT ?= 60m

# One set of compiler flags for build, vet, lint and tests: whatever one of them compiled, the others find in the cache.
# The race detector needs cgo: make test-unit CGO_ENABLED=1 GOTESTFLAGS=-race
export CGO_ENABLED ?= 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT := bin/tools/golangci-lint-$(GOLANGCI_LINT_VERSION)
CONTROLLER_GEN := go tool -modfile=hack/tools/go.mod controller-gen

##@ General

.PHONY: help
help: ## Print this text
	@awk 'BEGIN {FS = ":.*## "; printf "Usage: make \033[36m<target>\033[0m\n"} \
	  /^##@ / {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
	  /^[a-zA-Z0-9_-]+:.*## / {printf "  \033[36m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## Build bin/seictl
	go build -ldflags '$(LDFLAGS)' -o bin/seictl ./cmd/seictl

# Failpoints kill the process where a test asks for it; they are compiled into this binary only.
.PHONY: build-failpoints
build-failpoints:
	go build -tags failpoints -ldflags '$(LDFLAGS)' -o bin/seictl-failpoints ./cmd/seictl

.PHONY: generate
generate: ## Generate the deepcopy functions of the API types
	$(CONTROLLER_GEN) object paths=./api/...

.PHONY: manifests
manifests: ## Generate the CRDs from the API types
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:artifacts:config=config/crd/bases

.PHONY: docs
docs: ## Generate the reference of the commands and the failure modes in docs
	rm -f docs/cli/seictl*.md
	go run ./hack/gendocs docs/cli
	cd e2e && go test -tags e2e -count=1 -run '^TestFailureModesDocument$$' . -update

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin

##@ Test

.PHONY: test
test: test-unit e2e e2e-sim ## Run the unit tests, then the end-to-end tests on both tiers of the lab (needs root on Linux)

.PHONY: test-unit
test-unit: ## Run the tests that need no cluster
	go test $(GOTESTFLAGS) ./...
	cd e2e/lab && go test $(GOTESTFLAGS) ./...

# What gates a change: the CRDs' rules, the scenarios whose Gate is this tier, and that no scenario is left out. `make e2e-all`
# runs every scenario and suite: half an hour and more on each tier.
E2E_RUN ?= ^Test(CRD|Gate|Catalogue|Chapters|Filter)

.PHONY: e2e
e2e: build-failpoints lab-up ## Run the end-to-end tests that gate a change, or those of E2E_RUN, on the lab
	KUBECONFIG=$(LAB_KUBECONFIG) SEICTL_BIN=$(CURDIR)/bin/seictl SEICTL_FAILPOINTS_BIN=$(CURDIR)/bin/seictl-failpoints \
	  go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -run '$(E2E_RUN)' $(GOTESTFLAGS) ./e2e/...

.PHONY: e2e-sim
e2e-sim: ## Run the end-to-end tests that gate a change on the sim tier of the lab
	$(ON_SIM) e2e

.PHONY: e2e-all
e2e-all: ## Run every end-to-end test
	$(MAKE) e2e E2E_RUN=. GOTESTFLAGS='-skip=^TestGate $(GOTESTFLAGS)'

# How many times `make bench` turns TLS on or off.
BENCH_TOGGLES ?= 20

.PHONY: mutate-gates
mutate-gates: lab-up ## Take out one safety gate of the engine at a time: a named scenario must fail without it
	KUBECONFIG=$(LAB_KUBECONFIG) go run ./hack/mutate $(GATES)

# How many random sequences `make sequences` runs; SEQUENCE=N replays the one of that number.
SEQUENCES ?= 500

.PHONY: sequences
sequences: ## Run random sequences of edits, faults and evictions on simulated nodes, while their operator is killed
	$(ON_SIM) sequences-on-sim SEQUENCES=$(SEQUENCES)

.PHONY: sequences-on-sim
sequences-on-sim: build-failpoints lab-up
	KUBECONFIG=$(LAB_KUBECONFIG) SEICTL_BIN=$(CURDIR)/bin/seictl SEICTL_FAILPOINTS_BIN=$(CURDIR)/bin/seictl-failpoints \
	  SEQUENCES=$(if $(SEQUENCE),,$(SEQUENCES)) go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -run '^TestSequences$$' $(GOTESTFLAGS) ./e2e

.PHONY: bench
bench: build-failpoints lab-up ## Measure: Go benchmarks, then toggles on the lab; figures in bin/bench.json
	go test -run '^$$' -bench . -benchmem $(GOTESTFLAGS) ./pkg/drift ./pkg/plan ./pkg/fleet | tee bin/bench.txt
	KUBECONFIG=$(LAB_KUBECONFIG) SEICTL_BIN=$(CURDIR)/bin/seictl SEICTL_FAILPOINTS_BIN=$(CURDIR)/bin/seictl-failpoints \
	  BENCH_TOGGLES=$(BENCH_TOGGLES) BENCH_GO=$(CURDIR)/bin/bench.txt BENCH_JSON=$(CURDIR)/bin/bench.json \
	  go test -tags e2e -count=1 -v -timeout $(E2E_TIMEOUT) -run '^TestBenchToggle$$' ./e2e

# How many nodes the benchmarks of the sim tier have.
bench-operator: BENCH_NODES ?= 2000
bench-scale bench-settled bench-fleet: BENCH_NODES ?= 1000

.PHONY: bench-operator
bench-operator: BENCH = TestBenchOperator
bench-operator: bench-sim ## Measure the operator over 2,000 simulated nodes

.PHONY: bench-scale
bench-scale: BENCH = TestBenchScale
bench-scale: bench-sim ## Measure the creation and toggle of 1,000 simulated nodes

.PHONY: bench-settled
bench-settled: BENCH = TestBenchSettled
bench-settled: bench-sim ## Measure what 1,000 simulated nodes with TLS cost while nothing changes

.PHONY: bench-fleet
bench-fleet: BENCH = TestBenchFleet
bench-fleet: bench-sim ## Measure seictl fleet over 1,000 simulated nodes

.PHONY: bench-sim
bench-sim:
	$(ON_SIM) bench-on-sim BENCH=$(BENCH) BENCH_NODES=$(BENCH_NODES)

.PHONY: bench-on-sim
bench-on-sim: build-failpoints lab-up
	KUBECONFIG=$(LAB_KUBECONFIG) SEICTL_BIN=$(CURDIR)/bin/seictl SEICTL_FAILPOINTS_BIN=$(CURDIR)/bin/seictl-failpoints \
	  BENCH_NODES=$(BENCH_NODES) go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -run '^$(BENCH)$$' $(GOTESTFLAGS) ./e2e

##@ Check

.PHONY: verify
verify: ## Fail on stale generated files, bad format, vet, lint and untidy go.mod
	hack/verify.sh

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint
	$(GOLANGCI_LINT) run --build-tags e2e ./...
	$(GOLANGCI_LINT) run --build-tags failpoints ./internal/failpoint/...
	cd e2e/lab && $(CURDIR)/$(GOLANGCI_LINT) run ./...
	cd e2e/lab/dns && $(CURDIR)/$(GOLANGCI_LINT) run ./...

# Built from the module proxy by the Go of this machine: a prebuilt binary refuses code of a newer Go than its own.
$(GOLANGCI_LINT):
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/bin/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/tools/golangci-lint $@

##@ Lab and demo

.PHONY: lab-up
lab-up: build ## Start the lab: a real Kubernetes cluster on this machine (needs root on Linux; LAB=sim: simulated pods, no root)
	SEICTL_BIN=$(CURDIR)/bin/seictl e2e/lab/lab.sh up

.PHONY: lab-down
lab-down: ## Stop the lab and remove all of it
	e2e/lab/lab.sh down

.PHONY: demo
demo: lab-up ## Watch a running node get TLS, then a fleet, on the lab
	KUBECONFIG=$(LAB_KUBECONFIG) hack/demo.sh && KUBECONFIG=$(LAB_KUBECONFIG) hack/demo-fleet.sh

.PHONY: demo-down
demo-down: lab-down ## Remove all that the demo made, the lab included
