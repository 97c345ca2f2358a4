# Waltz. `make` lists what there is.

SHELL := /bin/bash
TOOL := go tool -modfile=tools/go.mod
PKGS ?= ./...
TEST_TIMEOUT ?= 15m
SOAK_TIMEOUT ?= 12h
SEEDS ?= 100000

# A runnable main is built only once its folder exists.
MAINS := ./cmd/waltz ./examples/ledger

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/waltz and bin/ledger
	@echo "building (the first time takes a few minutes: SQLite is compiled from source)"
	go build -v -o bin/ $(MAINS)

.PHONY: demo
demo: build ## build, then run the ledger demo on an embedded log and SQLite
	bin/ledger demo

.PHONY: install-deps
install-deps: ## install what the tests need, or tell what to install
	@scripts/install-deps.sh

.PHONY: test
test: install-deps ## everything, with the race detector (at most 15 minutes on 2 cores)
	@if [ -f ../shared/data/berka/trans.asc ]; then echo "bank rows: ../shared/data/berka"; \
	else echo "bank rows: made by ledger generate (../shared/data/berka is not there)"; fi
	go test -race -timeout $(TEST_TIMEOUT) $(PKGS)

.PHONY: soak
soak: install-deps mutants ## the long form of the tests, with the full counts and durations (hours)
	WALTZ_SOAK=1 go test -race -count=1 -timeout $(SOAK_TIMEOUT) $(PKGS)

.PHONY: mutants
mutants: ## plant every bug of docs/mutants.md and demand that its test catches it
	go run ./scripts/mutants

.PHONY: sim
sim: ## run SEEDS schedules of the simulator; tells the shortest form of one that fails
	go run ./scripts/sim -seeds $(SEEDS)

.PHONY: sim-mutants
sim-mutants: ## which seed of the simulator shows each planted protocol bug, as a table
	go run ./scripts/sim -mutants -seeds 500000

.PHONY: lint
lint: ## formatting, static checks, protobuf lint, generated code up to date
	$(TOOL) golangci-lint run
	$(TOOL) buf lint
	@$(MAKE) --no-print-directory check-generated

.PHONY: fmt
fmt: ## rewrite Go files with gofumpt, proto files with buf
	git ls-files '*.go' | grep -v '\.pb\.go$$' | xargs $(TOOL) gofumpt -w
	$(TOOL) buf format -w

.PHONY: generate
generate: ## regenerate the protobuf code
	$(TOOL) buf generate

# Generates into a scratch folder, so that a check never changes the work tree.
.PHONY: check-generated
check-generated:
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && $(TOOL) buf generate -o "$$out" && \
	for f in $$(cd "$$out" && find . -name '*.pb.go'); do \
		cmp "$$out/$$f" "$$f" || { echo "$$f is out of date: run make generate and commit it" >&2; exit 1; }; \
	done

.PHONY: vulncheck
vulncheck: ## known vulnerabilities in dependencies (needs vuln.go.dev; not part of CI)
	go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 $(PKGS)

.PHONY: bench
bench: build ## the macro benchmarks of bench/: append, read, apply
	go run ./bench $(BENCHFLAGS)

.PHONY: cluster3
cluster3: build ## one server and three storages as processes: rates, fdatasync, CPU of each; a storage killed
	go run ./bench/cluster3 -kill $(BENCHFLAGS)

.PHONY: clean
clean: ## remove what build made
	rm -rf bin
