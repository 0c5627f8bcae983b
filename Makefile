# Everything a person or CI runs. `make up` needs Go and nothing else; `make test` installs what it
# needs itself.
GO       ?= go
BIN      := bin/tienda
LINT     := $(GO) tool -modfile=$(CURDIR)/tools/go.mod golangci-lint
VERSION  := $(shell git describe --always --dirty --abbrev=12 2>/dev/null)
CREATED  := $(shell git log -1 --format=%ct 2>/dev/null)

# One way of building for all that is made here, programs, images, tools and tests: what they share, most of Kubernetes and all of
# the shop, is compiled once, wherever this folder is. The race detector alone needs C.
export CGO_ENABLED := 0
export GOFLAGS     := $(sort $(shell $(GO) env GOFLAGS) -trimpath)

.PHONY: help up build test test-deploy test-kubernetes test-terraform terraform-docs apply-emulated mutants crash-points proof proof-short drill check lint scan journey bench scale memory image package chart clean

help: ## this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

up: ## run the whole shop on this machine
	$(GO) run ./cmd/tienda up

build: ## one static binary in bin/
	$(GO) build -ldflags '-s -w -X tienda/kit.version=$(VERSION)' -o $(BIN) ./cmd/tienda

# Tests that load whole shops with thousands of calls have the machine to themselves and run
# without the race detector, which would make them some ten times slower. Shops that are killed wait for processes and leases
# most of the time: what takes the processor and has no clock, images, charts and the builds of planted bugs, is done meanwhile.
LOADED := TestHotProduct|TestBadInput|TestReplicasOfEverything
MUTANTS := TestMutantsAreCaught
KILLING := TestCrashPoints
# The race detector looks at everything. Go adds checks of pointers into its heap to it; SQLite, C that a translator made into Go,
# has its memory elsewhere, and spent more than half of its time in them: that code does without.
RACE := -race -gcflags=modernc.org/...=-d=checkptr=0

test: build ## all tests, on SQLite and on a private MariaDB; then the journey
	./test/need.sh gcc gcc libc6-dev
	CGO_ENABLED=1 ./test/mariadb.sh $(GO) test $(RACE) -timeout 40m -skip '$(LOADED)|$(MUTANTS)|$(KILLING)' ./...
	CGO_ENABLED=1 $(GO) test $(RACE) -tags faults ./fault
	$(GO) test -tags faults -run '^TestFaults' ./cmd/tienda
	./test/mariadb.sh $(GO) test -count=1 -timeout 20m -parallel 1 -run '$(LOADED)' ./cmd/tienda
	$(MAKE) -j 2 proof-short test-deploy
	$(MAKE) -j 2 crash-points mutants
	./test/journey.sh

# The image that the tests install, and the version after it; a cluster of one's own may have them under other names.
export TIENDA_TEST_IMAGE_TIENDA ?= tienda:$(VERSION)
export TIENDA_TEST_IMAGE_NEXT   ?= tienda:$(VERSION)-next

# Two packages of tests at a time, those that take longest first: pods of three request more processor time than two processors have.
test-kubernetes: image ## the chart on a real Kubernetes: one that is brought up and taken down, or that of KUBECONFIG
	$(GO) -C deploy run ./image -version '$(VERSION)-next' -platforms linux/$$($(GO) env GOARCH) -created $(or $(CREATED),0) -o ../bin/next.oci.tar
	$(GO) -C test/cluster run . -image ../../bin/tienda.oci.tar -image ../../bin/next.oci.tar with $(GO) test -count=1 -timeout 20m -v -p 2 ./backup ./entry ./shop ./...

# What these read of other modules, documents among it, no cache of results knows.
test-deploy: ## the image and the charts, and that every statement is MySQL's
	./test/mariadb.sh $(GO) -C deploy test -count=1 -timeout 15m ./...
	./test/mariadb.sh $(GO) -C test/grammar test -count=1 -timeout 10m ./...

mutants: ## every bug of test/mutants is planted, and must be caught
	./test/mariadb.sh $(GO) test -count=1 -timeout 20m -parallel 4 ./test/mutants

crash-points: ## a shop is killed at a sample of the points that a checkout passes; `make proof` takes all of them
	$(GO) test -count=1 -timeout 10m -parallel 8 -run '$(KILLING)' ./test/fleet

# SEED, CHECKOUTS and CLIENTS change what is proved; without SEED it is a new one each time, and printed.
PROOF := $(GO) run ./test/proof -version '$(VERSION)' -seed $(or $(SEED),0) -clients $(or $(CLIENTS),64)

proof: ## orders survive anything: 10,000 checkouts while processes are killed; the report is in bin/proof
	./test/mariadb.sh
	$(PROOF) -checkouts $(or $(CHECKOUTS),10000)
	@echo "Now a shop is killed at each point that a checkout passes. That takes some minutes and says nothing before its end."
	$(GO) test -count=1 -timeout 15m -parallel 8 -run TestCrashPoints ./test/fleet -crash-all

proof-short: ## the same with 500 checkouts, in less than two minutes
	./test/mariadb.sh
	$(PROOF) -checkouts 500 -settle 20s -stalls=false

lint: ## formatting, vet and the linters of .golangci.yml
	@test -z "$$(gofmt -l .)" || { echo "not formatted (gofmt -w them):"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags faults ./...
	$(GO) tool -modfile=tools/go.mod actionlint
	$(LINT) run ./...
	cd deploy && $(LINT) run ./...
	cd test/grammar && $(LINT) run ./...
	cd test/digitalocean && $(LINT) run ./...
	cd test/terraform && $(LINT) run ./...
	cd test/cluster && $(LINT) run ./...

# What is scanned is what is shipped, but with the names of its functions, by which is told whether it has those that are bad.
scan: ## known vulnerabilities of the program, by Go's database, or the one at VULNDB
	$(GO) build -o $(BIN).symbols ./cmd/tienda
	$(GO) tool -modfile=tools/go.mod govulncheck $(if $(VULNDB),-db '$(VULNDB)') -mode=binary $(BIN).symbols

check: lint test test-terraform ## what CI runs before test-kubernetes

drill: ## a shop's database is destroyed and brought back from its backups; the report is in bin/drill
	./test/mariadb.sh
	$(GO) run ./test/drill -version '$(VERSION)'

bench: build ## the figures of docs/performance.md
	./test/bench.sh

scale: ## a shop with a million products and orders beside a small one: see docs/performance.md
	./test/scale.sh

memory: build ## resident memory of every component, at rest and while customers buy
	./test/mariadb.sh ./test/memory.sh

image: ## the container image as an OCI archive in bin/, for amd64 and arm64; PUSH=REGISTRY/NAME:TAG pushes it too
	$(GO) -C deploy run ./image -version '$(VERSION)' -created $(or $(CREATED),0) -o ../bin/tienda.oci.tar $(if $(PUSH),-push '$(PUSH)')

package: ## the charts as archives in bin/; PUSH=REGISTRY/PLACE pushes them too
	for chart in tienda issuers; do \
		$(GO) -C deploy run ./pack -chart helm/$$chart -version '$(VERSION)' -created $(or $(CREATED),0) -o ../bin $(if $(PUSH),-push '$(PUSH)') || exit 1; \
	done

chart: ## schema and README of the charts, from the comments in their values
	$(GO) -C deploy run ./chartdoc $(patsubst deploy/%/values.yaml,%,$(wildcard deploy/helm/*/values.yaml))

# OpenTofu and tflint are built once for each version, in some minutes.
TOFU := $(CURDIR)/.cache/tofu-$(shell awk '$$1 == "github.com/opentofu/opentofu" {print $$2}' tools/tofu/go.mod)

$(TOFU):
	$(GO) build -C tools/tofu -ldflags '-s -w -X github.com/opentofu/opentofu/version.dev=no' -o $@ github.com/opentofu/opentofu/cmd/tofu

TFLINT := $(CURDIR)/.cache/tflint-$(shell awk '$$1 == "github.com/terraform-linters/tflint" && $$2 ~ /^v/ {print $$2}' tools/tflint/go.mod)

$(TFLINT):
	$(GO) build -C tools/tflint -ldflags '-s -w' -o $@ github.com/terraform-linters/tflint

test-terraform: $(TOFU) $(TFLINT) ## what is in deploy/terraform, with providers that are replayed and a bucket that is a stand-in
	@for program in $(TOFU) terraform; do \
		if command -v $$program >/dev/null; then TF_CLI_CONFIG_FILE=/dev/null CHECKPOINT_DISABLE=1 $$program version | head -n 1; else echo "$$program is not installed: the tests use OpenTofu alone"; fi; \
	done
	$(GO) -C test/digitalocean test -timeout 5m ./...
	TOFU=$(TOFU) TFLINT=$(TFLINT) $(GO) -C test/terraform test -timeout 10m ./...

terraform-docs: $(TOFU) ## READMEs of the modules, from their files, and the plans that tests compare
	TOFU=$(TOFU) $(GO) -C test/terraform test -count=1 -run 'TestReadmes|TestPlans' . -update

# environment.sh says which variables these take.
.PHONY: plan-stage apply-stage kubeconfig-stage deploy-stage rollback-stage destroy-stage plan-production apply-production kubeconfig-production deploy-production rollback-production destroy-production
plan-stage apply-stage kubeconfig-stage deploy-stage rollback-stage destroy-stage plan-production apply-production kubeconfig-production deploy-production rollback-production destroy-production: build ## an environment at DigitalOcean: docs/terraform.md
	TIENDA='$(CURDIR)/$(BIN)' HELM='$(HELM)' deploy/terraform/environment.sh $(subst -, ,$@)

# The Helm that the chart is tested with.
HELM := $(CURDIR)/.cache/helm-$(shell awk '$$1 == "helm.sh/helm/v4" {print $$2}' test/cluster/go.mod)

$(HELM):
	$(GO) build -C test/cluster -ldflags '-s -w' -o $@ helm.sh/helm/v4/cmd/helm

deploy-stage deploy-production rollback-stage rollback-production: $(HELM)

# PROVIDERS is a folder with the binaries of the three providers, CLUSTER a file with the credentials of a cluster to throw away.
apply-emulated: ## both environments are applied with real providers to an emulated DigitalOcean
	$(GO) -C test/terraform run ./emulated -providers '$(abspath $(PROVIDERS))' -terraform '$(or $(TERRAFORM),terraform)' -kubeconfig '$(if $(CLUSTER),$(abspath $(CLUSTER)))'

clean: ## take bin/ away
	rm -rf bin
