# Everything one does with taskfault. `make` alone lists it.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A tag for `make image`, seconds and target for `make fuzz`, parts for `make test` and
# `make bench` (all of them if empty).
IMAGE ?= taskfault
FUZZ_SECONDS ?= 60
TARGET ?= all
PARTS ?=
WHAT ?=
# How many mutations or kills, which chance, which sidecar of them alone.
N ?=
SEED ?=
KERNEL ?=
ONLY ?=
# What `make image` builds for; empty for this machine alone.
PLATFORMS ?=
comma := ,
# What --version says beside the version; empty outside of a repository.
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
# Where cargo builds.
BUILD := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## List what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build both programs, optimised, in target/release
	@echo "building $(BUILD)/release/taskfault and taskfault-local"
	@TASKFAULT_COMMIT=$(COMMIT) cargo build --release --locked --workspace --bins

.PHONY: demo
demo: build ## Two FIS experiments on a service of three tasks, and a report: about a minute
	@echo "running the demo in namespaces of its own"
	@$(BUILD)/release/taskfault-local demo

.PHONY: test
test: ## Run every check and test; PARTS="fmt unit" runs some (scripts/test names them)
	@scripts/test $(PARTS)

.PHONY: lint
lint: ## Check form, lints, dependencies, structure and scripts
	@scripts/test fmt clippy dependencies structure scripts

.PHONY: docs
docs: ## Build the documents as a site, in target/docs
	@scripts/docs

.PHONY: advisories
advisories: ## Check the dependencies against known vulnerabilities (needs the network)
	@scripts/deny advisories

.PHONY: bench
bench: ## Measure it beside stress-ng, tc, nft and more; WHAT="start cpu" runs parts, "--full" takes hours
	@echo "measuring: a quarter of an hour; an idle machine gives the best figures"
	@scripts/bench $(WHAT)

.PHONY: fuzz
fuzz: ## Fuzz every parser of bytes from outside for FUZZ_SECONDS (60) each, or one TARGET (scripts/fuzz names them)
	@echo "fuzzing for $(FUZZ_SECONDS) s; new inputs go to fuzz/corpus, failing ones to fuzz/artifacts"
	@scripts/fuzz $(TARGET) -max_total_time=$(FUZZ_SECONDS)

.PHONY: chaos
chaos: ## Sidecars at a hostile control plane; N=3000 mutations (300), SEED=7 for others, ONLY=12 for one sidecar
	@CHAOS_RUNS=$(N) CHAOS_SEED=$(SEED) CHAOS_ONLY=$(ONLY) cargo test --quiet --locked --workspace --test chaos

.PHONY: kills
kills: ## kill -9 of faults and sidecars at any instant; N=10000 of them (500), SEED and ONLY as for chaos
	@CHAOS_KILLS=$(or $(N),500) CHAOS_SEED=$(SEED) CHAOS_ONLY=$(ONLY) cargo test --quiet --locked --workspace --test chaos

.PHONY: vm
vm: ## Run the network tests in the virtual machine, with KERNEL=6.12 on a newer kernel (6.1)
	@VM_KERNEL=$(or $(KERNEL),6.1) scripts/vm-test

.PHONY: image
image: ## Build IMAGE (taskfault), IMAGE:debug with a shell, IMAGE:local with the local AWS; for PLATFORMS (linux/amd64,linux/arm64)
	@echo "building $(IMAGE), $(IMAGE):debug and $(IMAGE):local, and the image layout $(BUILD)/image"
	scripts/image $(IMAGE) $(BUILD)/image $(subst $(comma), ,$(PLATFORMS))
	docker build --build-arg COMMIT=$(COMMIT) -t $(IMAGE):debug --target debug .
	docker build --build-arg COMMIT=$(COMMIT) -t $(IMAGE):local --target local .

.PHONY: arm64
arm64: ## Build the layout for amd64 and arm64, and test the program for arm64 under emulation: half an hour the first time
	@scripts/arm64

.PHONY: deps
deps: ## Install the Debian packages (root or sudo) and cargo-deny, which the tests need
	@scripts/install-deps
	@scripts/deny install

.PHONY: clean
clean: ## Remove everything that was built here (images stay)
	@echo "removing target, fuzz/target and .cache"
	cargo clean
	rm -rf fuzz/target fuzz/corpus fuzz/artifacts .cache
	@echo "images stay: docker image rm taskfault taskfault:debug taskfault:local; docker image prune --filter label=taskfault.test"
