# `make demo` runs the whole pipeline, `make test` the tests; each sets up what it needs first.

PYTHON ?= python3
VENV := .venv
UV := uv==0.13.9
# Jobs and tools come from the virtual environment, whatever is active.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.ready ## a virtual environment in .venv, exactly as the lock file says

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make setup PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "This Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) (some 6 GB, a few minutes the first time)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode -r requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps --editable .
	@touch $@

# One run at a time; after a kill the next one takes Snakemake's lock away by itself.
define run
@mkdir -p .snakemake
@exec 9> .snakemake/demo.lock; \
flock --nonblock 9 || { echo "Another run, or a job of a killed one, is at work here; waiting for it"; flock 9; }; \
[ ! -e .snakemake/demo.running ] || snakemake --unlock --quiet all; \
touch .snakemake/demo.running; trap 'rm -f .snakemake/demo.running' EXIT; \
snakemake
endef

.PHONY: demo
demo: setup ## the embedded default, from real images to results/report.html
	$(run)

.PHONY: study-casd
study-casd: setup ## paper D on the embedded digits, to results/casd-digits/report.html
	$(run) --configfile config/studies/casd-digits.yaml -- report

.PHONY: study-distinguish
study-distinguish: setup ## paper C on the embedded digits, to results/distinguish-digits/report.html
	$(run) --configfile config/studies/distinguish-digits.yaml -- report

.PHONY: study-text-to-image
study-text-to-image: setup ## paper B on the embedded digits, to results/text-to-image-digits/report.html
	$(run) --configfile config/studies/text-to-image-digits.yaml -- report

# What is told on make's command line is in the environment, whatever letters it has.
.PHONY: own
own: setup ## all studies on your own images: make own FOLDER=/data/pets, to results/own-pets/report.html
	@[ -n "$$FOLDER" ] || { echo "Name the folder that holds one folder of images a class: make own FOLDER=/data/pets"; exit 1; }
	@[ -d "$$FOLDER" ] || { echo "There is no folder $$FOLDER"; exit 1; }
	$(run) --configfile config/own-images.yaml --config "real={folder: \"$$FOLDER\"}" \
		"results=results/own-$$(basename "$$FOLDER" | tr -c 'A-Za-z0-9_.+=@\n' -)" -- report

# No request leaves the machine, and the variable keeps an advertisement off the screen.
.PHONY: docs
docs: setup ## the documentation as a site that opens from disk: site/index.html
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

.PHONY: docs-serve
docs-serve: setup ## the same at http://127.0.0.1:8000, made anew at each change
	NO_MKDOCS_2_WARNING=1 mkdocs serve

.PHONY: test
test: setup ## the tests, some 12 minutes on two cores
	pytest -n 2 --dist worksteal

.PHONY: test-long
test-long: setup ## tests that take longer: further studies, more kills, a folder of photographs through it all
	pytest -m long -n 2 --dist loadfile --durations=10

.PHONY: test-cluster
test-cluster: setup ## tests on a small Slurm cluster on this machine (root, Debian's packages)
	SYNTHGAP_CLUSTER_INSTALL=1 pytest tests/cluster --durations=40 --durations-min=5

.PHONY: campaign
campaign: setup ## faults made on purpose, an exact comparison after each: a few minutes, or HOURS=2
	python -m campaign --seconds $(if $(HOURS),$$(python -c 'print($(HOURS) * 3600)'),300) \
		--results $(if $(HOURS),campaign/results.jsonl,results/campaign.jsonl)

.PHONY: lint
lint: setup ## style, types, workflow
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow/rules
	snakemake --lint

.PHONY: format
format: setup ## put code in the project's style
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow/rules

.PHONY: schema
schema: setup ## the config's JSON schema, after a change of src/synthgap/config
	python -m synthgap.config > workflow/schemas/config.schema.json

.PHONY: lock
lock: setup ## the lock file and envs/, after a change of the dependencies in pyproject.toml
	uv pip compile pyproject.toml --extra dev --extra slurm --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet -o requirements.lock
	python envs/write_conda.py > envs/synthgap.yaml

# In an environment of its own, which uv makes: what it finds is of the lock alone.
.PHONY: audit
audit: setup ## known vulnerabilities of the lock's packages (asks PyPI for its advisories)
	uv tool run pip-audit==2.10.1 --strict --disable-pip --require-hashes --progress-spinner off -r requirements.lock

.PHONY: screenshots
screenshots: demo ## the README's pictures, of the demo's page (needs Chromium)
	python docs/take_screenshots.py

.PHONY: clean
clean: ## remove the results (the virtual environment stays)
	rm -rf results
