PYTHON = .venv/bin/python
INSTALL_INTO = -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
INSTALL = $(PYTHON) $(INSTALL_INTO)
COMPILE = uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
COMPILE_PEER = uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: serve train test test-fast lint google bench bench-peers requirements

serve: .venv/serve  ## Serve the shipped models, configured by PRICECAST_… variables; HOST and PORT override two of them.
	$(HOST:%=PRICECAST_HOST=%) $(PORT:%=PRICECAST_PORT=%) $(PYTHON) -m app

train: .venv/train  ## Train the shipped models again. Each run publishes the next version.
	$(PYTHON) -m training train default
	$(PYTHON) -m training train tutorial

test: .venv/dev  ## Run every test and check the coverage.
	$(PYTHON) -m pytest --cov

test-fast: .venv/dev  ## Run the tests that are not marked slow: no server process, no training.
	$(PYTHON) -m pytest -m "not slow"

lint: .venv/dev  ## Check style, spelling, types and the layering.
	$(PYTHON) -m ruff check && $(PYTHON) -m ruff format --check && .venv/bin/typos && $(PYTHON) -m mypy && .venv/bin/lint-imports

export GOOGLE ?= ../shared/data/google
GOOGLE_FILES = $(GOOGLE)/Google_Stock_Price_Train.csv $(GOOGLE)/Google_Stock_Price_Test.csv
google: $(GOOGLE_FILES) .venv/train  ## Repeat the tutorial's experiment on its two CSV files, which must be in the folder GOOGLE.
	$(PYTHON) -m training train tutorial --csv $(word 1,$^) --column Open --test-csv $(word 2,$^) --name google --out .google

$(GOOGLE_FILES):
	@echo "no $@: these files are not part of the repository; name their folder: make google GOOGLE=FOLDER" >&2; exit 1

PEERS = batched bentoml litserve mlserver mosec pytriton ray
bench: .venv/dev  ## Measure speed on this machine, in less than five minutes.
	$(PYTHON) -m benchmarks.scenarios.serving

bench-peers: .venv/dev  ## Compare with other servers, in about 35 minutes. Peers that cannot be installed are listed in the report.
	-$(MAKE) --keep-going $(PEERS:%=.peers/%/ready)
	$(PYTHON) -m benchmarks.scenarios.peers

requirements:  ## Pin the requirements in pyproject.toml again. Needs uv.
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
