# Tocsin. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LISTEN   ?= 127.0.0.1:8080
DATA     ?= data
SCENARIO ?= intrusion
CACHE    := .cache
WEB      := console/web
SCENE    := testdata/scenarios/$(SCENARIO)

# Debian packages: to build and run, and more to test.
DEBS_BUILD := gcc libc6-dev libpcap-dev ca-certificates
DEBS_TEST  := $(DEBS_BUILD) chromium python3-venv tshark iproute2 ethtool curl procps maven default-jre-headless kcat softflowd graphviz nftables
DEBS_DIST  := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static flex bison make dpkg-dev
DEBS_BENCH := $(DEBS_BUILD) tcpdump softflowd nfdump argus-server libndpi-bin tshark

export CGO_ENABLED := 1

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: run
run: setup build ## build, replay the recorded intrusion, and show it at http://LISTEN (SCENARIO=, LISTEN=, DATA=)
	bin/tocsin run $(addprefix -r ,$(sort $(wildcard $(SCENE)/*.pcap*))) \
		--assets $(SCENE)/assets.yml $(if $(wildcard $(SCENE)/reputation.csv),--intel $(SCENE)/reputation.csv) \
		--data $(DATA) --listen $(LISTEN)

.PHONY: build
build: web ## bin/tocsin, with the console inside
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/tocsin ./cmd/tocsin

.PHONY: web
web: $(WEB)/dist/index.html ## the console's page

$(WEB)/dist/index.html: $(CACHE)/npm $(shell find $(WEB)/src $(WEB)/index.html $(WEB)/vite.config.ts -type f 2>/dev/null)
	cd $(WEB) && npm run --silent build

$(CACHE)/npm: $(WEB)/package-lock.json | setup
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@mkdir -p $(@D) && touch $@

.PHONY: setup
setup: ## install what building needs
	@deployments/setup $(DEBS_BUILD)

.PHONY: setup-test
setup-test: $(CACHE)/npm $(CACHE)/venv
	@deployments/setup $(DEBS_TEST)
	@go run ./internal/servers/fetch

# What is exported is opened by public tools: STIX by the validator, GraphML by
# networkx, PDF by pypdf. STIX is fetched from a public TAXII server, and by a
# public client.
$(CACHE)/venv: internal/requirements.txt | setup
	@deployments/setup $(DEBS_TEST)
	@mkdir -p $(@D) && rm -rf $@
	python3 -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check -r internal/requirements.txt

.PHONY: test
test: setup-test lint build ## everything that must hold: linters, Go tests, pages in a browser
	TOCSIN_STIX_VALIDATOR=$(CURDIR)/$(CACHE)/venv/bin/stix2_validator TOCSIN_TSHARK=$$(command -v tshark) \
	TOCSIN_TAXII_SERVER=$(CURDIR)/$(CACHE)/venv/bin/medallion \
	TOCSIN_PYTHON=$(CURDIR)/$(CACHE)/venv/bin/python TOCSIN_DOT=$$(command -v dot) TOCSIN_NFT=$$(command -v nft) \
		go run ./internal/servers/with go test -timeout 20m ./...
	go test -race -timeout 20m ./event ./bus/... ./sensor ./correlator ./correlator/window
	cd $(WEB) && npm run --silent test && npm run --silent e2e

.PHONY: lint
lint: $(CACHE)/npm $(WEB)/dist/index.html ## gofmt, vet, staticcheck; types and style of the page
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt on these files" >&2; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	cd $(WEB) && npm run --silent check

.PHONY: corpus
corpus: setup ## compare with what other tools say of foreign captures (CORPUS=folder)
	@test -f "$(CORPUS)/cases.jsonl" || { echo "make corpus: CORPUS=$(CORPUS) holds no cases.jsonl; give the folder of the captures" >&2; exit 2; }
	TOCSIN_CORPUS=$(abspath $(CORPUS)) go test -timeout 30m -run Corpus ./...

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: setup ## run every fuzz target for FUZZTIME
	@grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$$dir"/*_test.go | sed 's/func //' | sort -u | while read -r target; do \
			echo "$$dir $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir"; \
		done; done

.PHONY: bench
bench: build ## speed and memory, beside packaged peers
	@deployments/setup $(DEBS_BENCH)
	testdata/bench/run

.PHONY: bench-trace
bench-trace: setup-test ## a trace of ten hops among ten million events, on both stores (of Elasticsearch two million)
	TOCSIN_BENCH_EVENTS=10000000 go test ./cmd/tocsin -run '^$$' -bench TenHops -benchtime 3x -timeout 0

.PHONY: bench-console
bench-console: ## what the page asks, over 10 million events and 100,000 alerts
	TOCSIN_BENCH_EVENTS=10000000 go test ./console -run '^$$' -bench Console -benchtime 20x -timeout 1h

DURATION ?= 1h
.PHONY: soak
soak: ## run sensors for DURATION on a busy cable with faults (root); what they hold must not grow
	@deployments/setup $(DEBS_BUILD) iproute2
	go test ./internal/soak -run '^TestSoak$$' -v -count=1 -timeout 0 -args -duration $(DURATION)

.PHONY: bench-kafka
bench-kafka: setup-test build ## events per second to and from Kafka, and through all to a search (root)
	go test -run '^$$' -bench . -benchtime 1x -count 3 ./bus/kafka
	go build -o $(CACHE)/bench/pace ./testdata/bench/pace
	$(CACHE)/bench/pace

AWAY   ?= 10m
KILLS  ?= 20
FAULTS ?= .
.PHONY: faults
faults: setup-test build ## break the distributed pipeline in every way, and compare (root; KILLS=, AWAY=, FAULTS=regexp)
	go run ./testdata/bench/captures -only mixed -packets 120000 -out $(CACHE)/faults
	go run ./internal/faults -kills $(KILLS) -away $(AWAY) -only '$(FAULTS)' -table $(CACHE)/faults/table.md

.PHONY: dist
dist: web ## static programs for linux/amd64 and linux/arm64 in dist/, and what an image of them needs
	@deployments/setup $(DEBS_BUILD) $(DEBS_DIST)
	VERSION=$(VERSION) deployments/dist

.PHONY: record
record: ## record the scenarios again (root; makes network namespaces)
	testdata/range/record $(SCENARIO)

.PHONY: generate
generate: ## documents that are made from the code
	go test ./cmd/tocsin ./store/storetest ./internal/corpus -run '^TestDocs' -update

.PHONY: clean
clean: ## remove what was built; DATA stays
	rm -rf bin $(CACHE) $(WEB)/node_modules
	find $(WEB)/dist -mindepth 1 ! -name .gitkeep -delete
