# The three things a person does here. Each works on a fresh clone: Python 3.11 with venv, make and git are enough.
# `make PYTHON=/usr/bin/python3.11` takes the distribution's interpreter, which is built with profile-guided optimization.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

COMPILED := $(CURDIR)/build/compiled
# Tests of what runs beside the switch and not in it: as good over the source alone.
COLD := $(wildcard tests/*/test_cli.py) $(foreach name,card_import demo export key_commands reconcile report seed,tests/authsrv/test_$(name).py)
PACKAGES := authsrv ledger loadtest loyalty protocol receipts terminal

.PHONY: demo test check anonymity compiled test-compiled speed lock generate session clean

demo: $(VENV)/.installed   ## a day at the tills: database, switch, modules, receipts
	$(BIN)/authsrv demo

test: $(VENV)/.installed   ## every test that needs wheels alone
	$(BIN)/pytest -q -m "not system" --numprocesses 3 --dist loadfile

check: $(VENV)/.installed  ## types, lint, layers, generated files, and the tests that need Debian's tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m protocol.generate --check
	$(BIN)/python -m authsrv.generate --check
	$(BIN)/pytest -q -m system

# The same source with the modules of every request compiled: needs a C compiler and Python's headers. It is built from a
# copy, since what is compiled beside its source would be run instead of it.
compiled: $(COMPILED)/.built  ## a wheel to install on a host that serves, in dist/

$(COMPILED)/.built: $(VENV)/.installed $(shell find $(PACKAGES) -type f -not -name '*.pyc')
	rm -rf dist build && mkdir -p build/source
	cp -r pyproject.toml README.md LICENSE $(PACKAGES) build/source
	HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist build/source
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(COMPILED) dist/*.whl
	touch $@

test-compiled: compiled  ## what is compiled, and whole switches of it, tested as its source is
	PYTHONPATH=$(COMPILED) $(BIN)/python -P -c "from authsrv import fold; assert fold.__file__.endswith('.so'), fold.__file__"
	PYTHONPATH=$(COMPILED) $(BIN)/pytest -q -m "not system" --numprocesses 3 --dist loadfile $(addprefix --ignore=,$(COLD)) tests/authsrv tests/loyalty tests/protocol tests/receipts tests/terminal tests/whole/test_state_machine.py

anonymity: $(VENV)/.installed  ## 100,000 requests, and then all that is left is searched for every number, code and amount
	AUTHSRV_REQUESTS=100000 $(BIN)/pytest -q tests/whole/test_anonymity.py

speed: compiled  ## a short comparison with a stored procedure; a broken hot path fails, noise does not
	PYTHONPATH=$(COMPILED) $(BIN)/authsrv-loadtest compare --turn-s 4 --rounds 1 --bar 0.3 --json

generate: $(VENV)/.installed  ## rewrite what comes from the declarations of the wire and from the table
	$(BIN)/python -m protocol.generate
	$(BIN)/python -m authsrv.generate

session: $(VENV)/.installed   ## play what terminal/TILL.md and deploy/FIRST-DAY.md show, and write the pages anew
	AUTHSRV_RECORD=1 $(BIN)/pytest -q tests/whole/test_till_page.py tests/whole/test_first_day.py

# One environment for all three targets. `pip` refuses whatever does not match the hashes of the lock.
$(VENV)/.installed: requirements/dev.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lock:  ## pin anew, after a change of the dependencies; needs `uv`
	uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml --output-file requirements/run.lock
	uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml --group dev --extra loadtest --constraint requirements/run.lock --output-file requirements/dev.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
