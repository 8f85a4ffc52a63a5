# Everything below sets itself up: it needs python3, make and git on Debian 12 or Ubuntu 24.04, nothing else.
SHELL := /bin/bash
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := true
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# The lab's domain controller needs root for its ports; what is left behind is given back.
AS_ROOT := $(if $(SUDO),$(SUDO) --preserve-env)
GIVE_BACK := $(if $(SUDO),; done=$$?; $(SUDO) chown -R "$$(id -u):$$(id -g)" .; exit $$done)
UV := .tools/bin/uv
RUN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-qmail check soak bench fuzz docs clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

.tools/bin/uv:
	@python3 -c 'import ensurepip' 2>/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv; }
	python3 -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv

.tools/.ldap:
	@{ [ -e /usr/include/ldap.h ] && [ -e /usr/include/sasl/sasl.h ] && command -v gcc && [ -e /usr/include/python3*/Python.h ]; } >/dev/null \
		|| { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends libldap2-dev libsasl2-dev gcc libc6-dev python3-dev; }
	touch $@

.venv/.ready: .tools/bin/uv .tools/.ldap pyproject.toml requirements.lock
	[ -x .venv/bin/python ] || $(UV) venv --quiet --python "$$(command -v /usr/bin/python3 || command -v python3)" .venv
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --compile-bytecode --requirement requirements.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --editable .
	touch $@

.lab/.ready: .venv/.ready lab/install.py
	$(AS_ROOT) $(RUN)/python -m lab.install $(GIVE_BACK)
	touch $@

demo: .lab/.ready ## Move three people between real servers of this machine, while mail keeps coming, and one of them back
	@$(AS_ROOT) $(RUN)/python -m lab.demo $(GIVE_BACK)

test: .lab/.ready ## Run every test that CI runs (real servers, under 20 minutes)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(AS_ROOT) $(RUN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(GIVE_BACK)

check: .venv/.ready ## Format, lint, types, unit tests (under a minute)
	$(RUN)/ruff format .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/pytest -q tests/unit tests/protocol

test-qmail: .lab/.ready ## Run the qmail flavour against a notqmail for tests: make test-qmail QMAIL=/opt/qmail-test
	@QMAIL="$(QMAIL)" $(RUN)/python -m lab.qmail
	$(AS_ROOT) env QMAIL="$(QMAIL)" $(RUN)/pytest tests/qmail $(GIVE_BACK)

soak: .lab/.ready ## Kill copies at hundreds of random moments (long)
	$(AS_ROOT) $(RUN)/python -m tests.soak $(GIVE_BACK)

bench: .lab/.ready ## Measure against mbsync, doveadm and the raw floor (about half an hour)
	$(AS_ROOT) $(RUN)/python -m lab.install --bench $(GIVE_BACK)
	$(AS_ROOT) $(RUN)/python -m bench $(GIVE_BACK)

fuzz: .venv/.ready ## Feed the IMAP parser anything (atheris)
	VIRTUAL_ENV=.venv $(UV) pip install --quiet 'atheris>=2.3'
	$(RUN)/python fuzz/fuzz_imap.py $${SECONDS_TO_RUN:-120}

docs: .lab/.ready ## Generate docs/fidelity.md and the reference pages from real runs
	$(RUN)/python -m lab.cli_page
	$(RUN)/python -m lab.settings_page
	$(RUN)/python -m lab.rules_page
	$(RUN)/python -m lab.sharing_page
	$(RUN)/python -m lab.transport_page
	$(AS_ROOT) $(RUN)/python -m lab.fidelity $(GIVE_BACK)

lock: .tools/bin/uv ## Choose the newest versions of all dependencies
	$(UV) pip compile --quiet --universal --no-header --no-emit-index-url --generate-hashes --group dev --all-extras pyproject.toml -o requirements.lock

clean: ## Remove everything that was set up here
	rm -rf .tools .venv .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
