# Thin: every target is one or two commands that can be run by hand.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
# rustup puts it there, also where no profile was read
export PATH := $(PATH):$(HOME)/.cargo/bin

RELEASE := target/release/transient
APPLIANCE := target/appliance
KERNEL := target/kernel
ASSEMBLE = appliance build --kernel $(KERNEL)/vmlinuz --modules $(KERNEL)/modules --output

.DEFAULT_GOAL := help
.PHONY: help setup build appliance test lint demo bench fuzz install clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the system packages that are missing (as root, or with sudo)
	@scripts/setup.sh

build: setup ## Build the command line in release mode
	$(CARGO) build --release --locked

$(KERNEL)/vmlinuz: | setup
	@scripts/kernel.sh $(KERNEL)

appliance: build $(KERNEL)/vmlinuz ## Assemble the appliance from a downloaded kernel, which is not installed
	$(RELEASE) $(ASSEMBLE) $(APPLIANCE)

lint: setup ## Check the format, and what clippy says
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# In the profile of the tests, to build nothing twice; the guest program is the same in all profiles.
test: lint $(KERNEL)/vmlinuz ## Check everything and run all tests
	$(CARGO) build --workspace --locked
	target/debug/transient $(ASSEMBLE) $(APPLIANCE)
	$(CARGO) test --workspace --locked -- --include-ignored

demo: appliance ## Build two small images, list them, and say where they are
	scripts/demo.sh

bench: appliance ## Measure; prints medians of several runs
	scripts/bench.sh

# Seconds for each of the fuzz targets.
FUZZ_SECONDS ?= 60

fuzz: setup ## Fuzz the parsers, FUZZ_SECONDS each (with nightly Rust and cargo-fuzz)
	@for target in $$($(CARGO) +nightly fuzz list); do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

install: build $(KERNEL)/vmlinuz ## Install below PREFIX (/usr/local), DESTDIR before it for packages
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/transient $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 $(RELEASE) $(DESTDIR)$(PREFIX)/bin/transient
	$(RELEASE) $(ASSEMBLE) $(DESTDIR)$(PREFIX)/lib/transient/appliance
	$(RELEASE) man $(DESTDIR)$(PREFIX)/share/man/man1
	$(RELEASE) completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/transient
	$(RELEASE) completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_transient
	$(RELEASE) completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/transient.fish

clean: ## Remove what was built
	$(CARGO) clean
