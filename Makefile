# Everything a developer or CI does. `make` alone lists the targets.
SHELL := /bin/bash
CACHE ?= $(if $(BERTH_CACHE),$(BERTH_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/berth)
export CARGO_TARGET_DIR ?= $(CACHE)/target
export BERTH_PYTHON ?= $(CACHE)/venv-43/bin/python
export BERTH_BIN ?= $(CARGO_TARGET_DIR)/debug/berth
export BERTH_WEED ?= $(CACHE)/venv-tools/bin/weed
export BERTH_AIRFLOW ?= $(CACHE)/venv-airflow/bin/python

# One archive of Spark's classes for all the nodes that tests start, since each would make its own; and drivers that
# start fast, since tests start hundreds and ask them for little.
test interop: export BERTH__AGENT__CLASS_ARCHIVES ?= $(CACHE)/class-archives
test interop: export BERTH__AGENT__PROFILES__DEFAULT__FAST_JIT ?= true
test interop: export BERTH__AGENT__PROFILES__DEFAULT__WARM_UP_SESSIONS ?= 0

.PHONY: help deps build up demo check deny test interop bench
help: ## Lists the targets.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

deps: ## Installs what is missing: Java, protoc, etcd, a Python with PySpark.
	@CACHE=$(CACHE) scripts/deps.sh

build: deps ## Builds the berth command.
	cargo build --locked

up: build ## Runs a one-node Berth until Ctrl-C.
	$(BERTH_BIN) up

demo: build ## Kills drivers under PySpark and under Livy; the sessions go on.
	$(BERTH_PYTHON) scripts/demo.py

check: ## Formatting, lints and every test that needs no Spark.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked

deny: deps ## Licences, sources and unwanted crates of the dependency tree.
	PATH=$(CACHE)/venv-tools/bin:$$PATH cargo deny --locked check licenses bans sources

test: deps ## Everything, on real Spark and etcd. Needs root, for network namespaces.
	$(MAKE) deny check
	cargo test --locked -p berth-agent --test it
	cargo build --locked
	$(BERTH_PYTHON) -m pytest agent/driver/tests tests/e2e tests/cluster

interop: build ## Other versions and languages: PySpark 3.5 and 4.0, Go, Rust, Livy's for Java, JDBC of Hive and Kyuubi; Iceberg; etcd 3.6.
	@CACHE=$(CACHE) scripts/deps.sh interop
	cargo build --locked --manifest-path tests/interop/rust/Cargo.toml
	cd tests/interop/go && PATH=$(CACHE)/venv-go/bin:$$PATH CGO_ENABLED=0 GOTOOLCHAIN=local go build -o $(CACHE)/interop-go .
	cd tests/interop/etcd && PATH=$(CACHE)/venv-go/bin:$$PATH CGO_ENABLED=0 GOTOOLCHAIN=local go build -o $(CACHE)/interop-etcd .
	BERTH_ETCD=$(CACHE)/interop-etcd cargo test --locked -p berth-store --test it etcd
	BERTH_ETCD=$(CACHE)/interop-etcd BERTH_CLIENTS=$(CACHE) $(BERTH_PYTHON) -m pytest tests/interop

bench: deps ## Figures: what Berth adds to a call, and how soon a session is back. On an idle machine, 25 minutes. PARTS="stub real cold node livy sql".
	cargo build --locked --profile perf -p berth -p berth-loadtest
	BERTH_BIN=$(CARGO_TARGET_DIR)/perf/berth BERTH_LOADTEST=$(CARGO_TARGET_DIR)/perf/berth-loadtest $(BERTH_PYTHON) scripts/bench.py $(PARTS)
