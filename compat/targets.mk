# The foreign world: other projects' clients and tools, a real Kafka, a browser.
# The root Makefile includes this file. What is needed is installed from package
# registries into .cache/; what could not be got is named in LEFT OUT lines, and
# STRICT=1 makes them failures. compat/README.md says what runs.
#
#   make compat                 everything, 200 kill -9 cycles, and 200 under transactions
#   make compat CYCLES=20 FRANZ_RECORDS=20000    the short form of CI
#   make compat TARGET=kafka    the same expectations against Apache Kafka 4.3.1
#   make bench                  beside Kafka; ROUNDS EVENTS SIZE SINGLES KEYS ROWS
#   make soak DURATION=8h       frames, kill cycles, leaks
#   make browser                the page in Chromium

COMPAT := cd compat &&
CYCLES ?= 200
DURATION ?= 8h
export CYCLES DURATION FRANZ_RECORDS FRAMES SEED TARGET STRICT ROUNDS EVENTS SIZE SINGLES KEYS ROWS

.PHONY: compat compat-lint bench soak browser

compat: build compat-lint ## foreign clients and tools, and the kill test, against the built binary
	$(COMPAT) go test -count=1 -v -timeout 45m ./suite
	$(COMPAT) go test -count=1 ./history ./oracle ./bench
	$(COMPAT) go test -count=1 -p 1 -v -timeout 75m ./killtest ./txntest ./counttest ./frames

compat-lint: # staticcheck is pinned in the root go.mod
	go build -o .cache/compat-bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(COMPAT) go vet ./... && ../.cache/compat-bin/staticcheck ./...

bench: build ## side by side with Kafka; prints one table, writes .cache/bench.json
	$(COMPAT) go run ./bench

soak: build ## damaged frames, kill -9 and leaks until DURATION is over
	$(COMPAT) go run ./soak

browser: build ## the page in a real Chromium; screenshot in .cache/page.png
	$(COMPAT) go test -count=1 -v -timeout 10m ./browser
