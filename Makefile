# Few verbs, the same here and in CI. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml stylegan2-ada-pytorch/pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt -e stylegan2-ada-pytorch -e '.[train,dev]'
	touch $(READY)

demo: $(READY) ## run pipeline augmentation on volumes simulated on the spot
	$(BIN)/python -m pipelines simulate demo/volumes --patients 8
	$(BIN)/python -m pipelines run augmentation --root demo --profile demo -p volumes_uri=demo/volumes

test: $(READY) ## run the tests that take minutes, in two processes of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 12

test-slow: $(READY) ## run the tests that take many minutes, on ../shared/data where it is present
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 12 $(LEFT_OUT)

test-gpu: $(READY) ## run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-images: $(READY) ## build both images and run the pipeline in them (root, podman, dockerd, debootstrap)
	$(BIN)/python -m pytest -m images tests/images

lint: $(READY) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: $(READY) ## write build/*.yaml for a KFP server
	$(BIN)/python -m pipelines compile --to build

images: ## build both images; REGISTRY=, TAG=, PRETRAINED= as docs/deploy.md says
	images/build.sh "$(REGISTRY)" "$(TAG)" "$(PRETRAINED)"

locks: ## pin the images' packages by hash again, after a change of constraints.txt (needs uv)
	images/lock.sh

clean: ## remove what these verbs made
	rm -rf .venv build demo

.PHONY: help demo test test-slow test-gpu test-images lint format compile images locks clean
