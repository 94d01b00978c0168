# Thin: every target is one or two commands that can be run by hand.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
# rustup puts it there, also where no profile was read
export PATH := $(PATH):$(HOME)/.cargo/bin

# `dev` installs what the tests have built already.
PROFILE ?= release
BUILT := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
INSTALLED_PACKAGES := $(if $(filter dev,$(PROFILE)),--workspace,--package transient --package transient-ffi)
RELEASE := target/release/transient
APPLIANCE := target/appliance
KERNEL := target/kernel
ASSEMBLE = appliance build --kernel $(KERNEL)/vmlinuz --modules $(KERNEL)/modules --output

.DEFAULT_GOAL := help
.PHONY: help setup build appliance header test lint demo bench bench-quick bench-pull bench-faces fuzz stress install wheel sdist test-python test-wheel clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the system packages that are missing (as root, or with sudo)
	@scripts/setup.sh

build: setup ## Build the command line in release mode
	$(CARGO) build --release --locked

$(KERNEL)/control: | setup
	@scripts/kernel.sh $(KERNEL)

appliance: build $(KERNEL)/control ## Assemble the appliance from a downloaded kernel, which is not installed
	$(RELEASE) $(ASSEMBLE) $(APPLIANCE)

lint: setup ## Check the format, and what clippy says
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# In the profile of the tests, to build nothing twice; the guest program is the same in all profiles. Many tests wait for
# a VM: one more than there are processors keeps these busy.
test: lint $(KERNEL)/control ## Check everything and run all tests
	$(CARGO) build --workspace --locked
	target/debug/transient $(ASSEMBLE) $(APPLIANCE)
	RUST_TEST_THREADS=$$(($$(nproc) + 1)) $(CARGO) test --workspace --locked -- --include-ignored
	$(MAKE) install PROFILE=dev PREFIX=$(CURDIR)/target/installed
	scripts/test-install.sh $(CURDIR)/target/installed
	$(MAKE) test-python test-wheel PROFILE=dev

header: setup ## Make include/transient.h anew from the Rust sources
	TRANSIENT_WRITE_HEADER=1 $(CARGO) test --package transient-ffi --test header --locked --quiet

demo: appliance ## Build two small images, list them, and say where they are
	scripts/demo.sh

bench: appliance ## Measure beside others and what the machine allows, into docs/benchmarks.md (half an hour)
	scripts/bench.sh --output docs/benchmarks.md

bench-quick: appliance ## Measure the same once, and less of it; prints the tables
	scripts/bench.sh --quick

bench-pull: build ## Measure downloads beside curl, xz and release 0.25
	scripts/bench.sh --pull

bench-faces: wheel ## Measure the same work through the command line, C and Python
	$(MAKE) install PREFIX=$(CURDIR)/target/installed
	python3 -m venv --clear target/bench/faces
	target/bench/faces/bin/pip install --quiet --disable-pip-version-check $(WHEELS)/*.whl
	scripts/bench-faces.sh $(CURDIR)/target/installed $(CURDIR)/target/bench/faces/bin/python

# Seconds for each of the fuzz targets.
FUZZ_SECONDS ?= 60

fuzz: setup ## Fuzz the parsers, FUZZ_SECONDS each (with nightly Rust and cargo-fuzz)
	scripts/fuzz_seeds.py fuzz/corpus
	@for target in $$($(CARGO) +nightly fuzz list); do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

STRESS_SECONDS ?= 300

stress: $(KERNEL)/control ## Have many processes work on one store, and kill some, for STRESS_SECONDS
	$(CARGO) build --workspace --locked
	target/debug/transient $(ASSEMBLE) $(APPLIANCE)
	STRESS_SECONDS=$(STRESS_SECONDS) $(CARGO) test --test cli --locked -- \
		--ignored --nocapture --exact stress::many_processes_some_of_them_killed

LIB := $(DESTDIR)$(PREFIX)/lib
SHARE := $(DESTDIR)$(PREFIX)/share
# The library's release, and its ABI.
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
ABI := $(firstword $(subst ., ,$(VERSION)))

install: setup $(KERNEL)/control ## Install below PREFIX (/usr/local), DESTDIR before it for packages
	$(CARGO) build --profile $(PROFILE) --locked $(INSTALLED_PACKAGES)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(LIB)/transient $(LIB)/pkgconfig \
		$(SHARE)/man/man1 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 $(BUILT)/transient $(DESTDIR)$(PREFIX)/bin/transient
	install -m 644 include/transient.h $(DESTDIR)$(PREFIX)/include/transient.h
	install -m 644 $(BUILT)/libtransient.a $(LIB)/libtransient.a
	install -m 755 $(BUILT)/libtransient.so $(LIB)/libtransient.so.$(VERSION)
	ln -sf libtransient.so.$(VERSION) $(LIB)/libtransient.so.$(ABI)
	ln -sf libtransient.so.$(ABI) $(LIB)/libtransient.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' transient-ffi/transient.pc.in > $(LIB)/pkgconfig/transient.pc
	$(BUILT)/transient $(ASSEMBLE) $(LIB)/transient/appliance
	$(BUILT)/transient man $(SHARE)/man/man1
	$(BUILT)/transient completions bash > $(SHARE)/bash-completion/completions/transient
	$(BUILT)/transient completions zsh > $(SHARE)/zsh/site-functions/_transient
	$(BUILT)/transient completions fish > $(SHARE)/fish/vendor_completions.d/transient.fish

# `dev` is for tests: it builds faster.
WHEELS := target/wheels$(if $(filter dev,$(PROFILE)),/dev)

wheel: setup $(KERNEL)/control ## Build the Python wheel, appliance and all, into target/wheels
	scripts/wheel.sh $(PROFILE) $(WHEELS)

sdist: wheel ## Build the Python package's source archive beside the wheel
	target/wheel-tools/bin/maturin sdist --manifest-path python/Cargo.toml --out $(WHEELS)

test-python: wheel ## Test the wheel, as it is installed, in a fresh virtual environment
	scripts/test-python.sh $(WHEELS)/*.whl

test-wheel: wheel ## Install the wheel in a small Debian, and build images there (as root, or with sudo)
	python3 -m unittest discover --start-directory tests/packaging
	scripts/test-wheel.sh $(WHEELS)/*.whl

clean: ## Remove what was built
	$(CARGO) clean
