HOST ?= 127.0.0.1
PORT ?= 8000
PYTHON = .venv/bin/python
INSTALL_INTO = -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
INSTALL = $(PYTHON) $(INSTALL_INTO)
COMPILE = uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
COMPILE_PEER = uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: serve train test test-fast lint google bench bench-peers requirements

serve: .venv/serve  ## the shipped models on HOST:PORT
	PRICECAST_HOST=$(HOST) PRICECAST_PORT=$(PORT) $(PYTHON) -m app

train: .venv/train  ## the shipped models, anew: each a next version
	$(PYTHON) -m training train default
	$(PYTHON) -m training train tutorial

test: .venv/dev  ## everything
	$(PYTHON) -m pytest --cov

test-fast: .venv/dev  ## what needs no server process and no training
	$(PYTHON) -m pytest -m "not slow"

lint: .venv/dev
	$(PYTHON) -m ruff check && $(PYTHON) -m ruff format --check && $(PYTHON) -m mypy && .venv/bin/lint-imports

GOOGLE ?= ../shared/data/google
google: .venv/train  ## the tutorial's own experiment, on the tutorial's own files
	$(PYTHON) -m training train tutorial --csv $(GOOGLE)/Google_Stock_Price_Train.csv --column Open --test-csv $(GOOGLE)/Google_Stock_Price_Test.csv --name google --out .google

PEERS = batched bentoml litserve mlserver mosec pytriton ray
bench: .venv/dev  ## how fast it answers on this machine, in less than five minutes
	$(PYTHON) -m benchmarks.serving

bench-peers: .venv/dev  ## the same beside other servers, in less than half an hour; one that cannot be installed is told
	-$(MAKE) --keep-going $(PEERS:%=.peers/%/ready)
	$(PYTHON) -m benchmarks.peers

requirements:  ## pin anew, from pyproject.toml
	$(COMPILE) --extra train --extra otel --extra dev --output-file requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/serve.txt
	$(COMPILE) --constraint requirements/dev.txt --extra train --output-file requirements/train.txt
	$(COMPILE) --constraint requirements/dev.txt --extra gpu --output-file requirements/gpu.txt
	$(COMPILE) --constraint requirements/dev.txt --extra otel --output-file requirements/otel.txt
	$(foreach peer,$(PEERS),$(COMPILE_PEER) --group pyproject.toml:peer-$(peer) --output-file requirements/peer-$(peer).txt &&) true

.venv/%: requirements/%.txt
	test -x $(PYTHON) || python3 -m venv .venv
	$(INSTALL) --requirement $<
	touch $@

.peers/%/ready: requirements/peer-%.txt
	python3 -m venv .peers/$*
	.peers/$*/bin/python $(INSTALL_INTO) --requirement $< 2> .peers/$*/install.log || (cat .peers/$*/install.log; exit 1)
	touch $@
