# Millrace needs Go 1.27. Any Go from 1.21 on fetches that toolchain by itself
# when this setting allows it, also where GOTOOLCHAIN=local is in force.
export GOTOOLCHAIN := go1.27.4
export CGO_ENABLED ?= 0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BINARY  := bin/millrace

.PHONY: run build test worlds race lint

run: build ## build and start broker, click job and page, with simulated clicks
	./$(BINARY) serve --demo

build: ## bin/millrace: static, stripped, version from git
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BINARY) ./cmd/millrace

# The toolchain's own gofmt: an older one does not know generic methods.
lint:
	@unformatted=$$($$(go env GOROOT)/bin/gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt these files:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

test: lint ## everything that needs Go alone
	go test -timeout 30m ./...
	@$(MAKE) --no-print-directory worlds
	@$(MAKE) --no-print-directory race

# 1,000 storms: 800 on a model of Kafka, a quarter as many on our own broker.
worlds: ## the engine's simulated worlds at full size: 1,000 seeds, 200,000 transactions, all pairs of failpoints
	go test -count=1 -v -timeout 60m -run InTheBubble ./internal/engine -args -worlds 800

# The rooms with goroutines under the race detector, without their crash worlds:
# those run one operation at a time; and without the bounds on memory, of which the
# detector takes a multiple. It needs a C compiler.
RACE_ROOMS := ./internal/log ./internal/broker ./internal/clicks ./internal/client ./internal/web ./internal/vfs/...
RACE_SKIP  := CrashWorld|CompactionCrashes|ErrorPoints|Rot|Planted|PowerCut|Mutated|Conformance|TenThousand|StarveNobody|Flip|Truncat
race: ## the same under the race detector, where it pays
	@if command -v cc >/dev/null; then \
		echo "go test -race $(RACE_ROOMS)"; CGO_ENABLED=1 go test -race -timeout 30m -skip '$(RACE_SKIP)' $(RACE_ROOMS); \
	else echo "LEFT OUT: race detector, which needs a C compiler (cc)"; fi

include compat/targets.mk
