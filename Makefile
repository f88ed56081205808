# The whole suite in two commands: `make demo`, `make test`. Each makes its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo compare test lint clean

demo: $(VENV)/installed
	$(BIN)/python download.py --board openmoji --out data/openmoji --size 64 --tags 256 --min-positives 8 --val 10 --test 10
	$(BIN)/python train.py --data data/openmoji --run runs/openmoji --epochs 4
	$(BIN)/python eval.py runs/openmoji
	$(BIN)/python test.py $$(ls runs/openmoji/examples/*.jpg | head -n 1) --run runs/openmoji

# The demo's recipe beside other trainers': the same data and image size, as many epochs, and as much time.
compare: $(VENV)/installed
	$(BIN)/python bench.py peers --data data/openmoji --seeds 1

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile

clean:
	rm -rf $(VENV) data/openmoji runs/openmoji

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
