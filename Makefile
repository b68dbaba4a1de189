# The two commands that matter are `make up` and `make test`; both do all set-up.
# Tools that are not part of Rust land in .tools/, nothing outside the checkout
# is touched except system packages (redis-server), which need root or sudo.

SHELL := /bin/bash
TOOLS := $(CURDIR)/.tools
export ENVOY ?= $(TOOLS)/envoy
export PATH := $(TOOLS)/bin:$(PATH)
export GO_HTTPBIN ?= $(TOOLS)/bin/go-httpbin
export RATELIMIT_PEER ?= $(TOOLS)/bin/ratelimit-peer

.PHONY: help up test test-cluster lint unit journeys mutants mutants-of-manifests golden fuzz bench bench-cluster bench-control bench-extauth bench-ratelimit images tools tools-envoy tools-test clean

help: ## What there is to run
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

up: tools-envoy ## Build, get Envoy, run examples/httpbin and its sample application
	cargo build --release -p waykeeper
	./target/release/waykeeper up --sample examples/httpbin

test: tools-test lint unit test-cluster ## Install what tests need, run all of them

lint: ## rustfmt, clippy, licences and duplicate versions
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings
	cargo deny --log-level error check bans licenses sources

# Journeys that need a Docker Engine; the others run where a `make up` is not in their way.
CONTAINERS := compose compose_readme images
# Journeys on a real API server, which takes minutes to build once, and on a whole node: after all others.
CLUSTER := cluster cluster_commands chart
NODE := node
JOURNEYS := $(filter-out $(CONTAINERS) $(CLUSTER) $(NODE),$(basename $(notdir $(wildcard tests/tests/*.rs))))

unit: tools-test ## All tests of all crates, the journeys through the real Envoy and Redis included
	cargo build --workspace --bins
	cargo test --workspace --no-run
	cargo test --no-fail-fast --workspace --exclude waykeeper-tests
	$(MAKE) --no-print-directory journeys

# The longest first, so that what is run beside them ends with them.
LONG := semantics mutants scopes
journeys: tools-test ## Only the end-to-end journeys
	cargo build --workspace --bins
	cargo test --workspace --no-run
	scripts/journeys.sh --helpers
	scripts/journeys.sh $(LONG) $(filter-out $(LONG),$(JOURNEYS))
	cargo test --no-fail-fast --workspace $(addprefix --test ,$(CONTAINERS))

test-cluster: tools-test ## The servers on a real kube-apiserver, and as pods of a real node (builds Kubernetes once)
	@scripts/tools.sh etcd apiserver helm kubectl node gateway-api
	cargo build --workspace --bins
	scripts/journeys.sh $(CLUSTER)
	scripts/node-images.sh
	scripts/journeys.sh $(NODE)

mutants-of-manifests: tools-envoy ## Every accident in every field of a manifest, through the real Envoy (about 20 minutes)
	cargo build --workspace --bins
	WAYKEEPER_MUTANTS=$${WAYKEEPER_MUTANTS:-all} scripts/alone.sh cargo test -p waykeeper-tests --test mutants

mutants: tools-envoy tools-test ## Mutants of the code that decides (MUTANTS=all, how many, or a part of their names)
	cargo build -p waykeeper-mutate
	./target/debug/mutate

golden: ## Rewrite the golden files, then read the diff
	UPDATE_GOLDEN=1 cargo test -p waypoint-translate --test golden
	UPDATE_GOLDEN=1 cargo test -p waypoint-emit -p waypoint-resolve --lib

fuzz: ## Run every fuzz target for 20 seconds (scripts/fuzz.sh SECONDS TARGET for one)
	scripts/fuzz.sh 20

bench: tools-envoy tools-test ## Requests per second and latency through the waypoint beside a bare Envoy
	cargo build --release -p waykeeper
	scripts/bench.sh

bench-control: tools-envoy ## The control plane over 1,000 and 10,000 Services (BENCH_SERVICES=100,1000 for others)
	cargo build --release -p waykeeper -p waykeeper-bench --bin waykeeper --bin bench-control
	./target/release/bench-control --write docs/control-plane.md

bench-cluster: tools-envoy ## The control plane on a real API server (BENCH_SERVICES=100,1000 for others; needs root for a namespace)
	@scripts/tools.sh etcd apiserver
	cargo build --release -p waypoint -p waykeeper-bench --bin waypoint --bin bench-cluster
	scripts/alone.sh ./target/release/bench-cluster --write docs/control-plane.md

bench-extauth: ## The ext_authz service over 100,000 Secrets, beside a server that does nothing
	cargo build --release -p extauth -p waykeeper-bench --bin extauth --bin bench-extauth
	./target/release/bench-extauth

images: ## Build the images, waykeeper/<name>:dev (PROFILE=dev builds quicker ones)
	for name in extauth ratelimit waypoint proxy waykeeper; do \
	  DOCKER_BUILDKIT=1 docker build --target $$name --tag waykeeper/$$name:dev --build-arg PROFILE=$${PROFILE:-dist} \
	    --build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; \
	done

bench-ratelimit: ## The rate-limit service beside envoyproxy/ratelimit (QUICK=1: about two minutes)
	@scripts/tools.sh redis ratelimit-peer
	cargo build --profile dist -p ratelimit -p waykeeper-bench
	./target/dist/bench-ratelimit

tools: tools-envoy tools-test

tools-envoy:
	@scripts/tools.sh envoy

tools-test:
	@scripts/tools.sh envoy redis httpbin ratelimit-peer deny load docker compose

clean: ## Remove what was built and fetched
	cargo clean
	rm -rf $(TOOLS)
