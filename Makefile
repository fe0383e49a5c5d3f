# Most targets first set up .venv with the pinned versions. Needs Python 3.11 or newer.

# To install the packages and compile the native transport at the same time.
MAKEFLAGS += --jobs=2

# Container images set it. Without compiled files, each process would compile all modules that it imports.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
DATA_DIR ?=
KSERVE_PYTHON ?=
MLSERVER_PYTHON ?=
MINUTES ?= 10
MODELS ?= models
JOBS ?= 3
TRANSPORT ?=
# A percentage: show the coverage of lines and branches, and fail if it is lower. 0 only shows it.
COVERAGE ?=
SHARE ?= $(HOME)/.local/share
PROTO := text_classifier/v1/text_classifier.proto service/grpc/stubs/open_inference.proto

.PHONY: help native serve models test sanitize audit bench soak attack lint nativelint proto docs completion wheel client-wheel constraints clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

INSTALL := .venv/bin/pip install --quiet --constraint constraints.txt --editable

# Modules are compiled when they are imported, which takes less time than to compile all of them.
.venv/.server: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[server]' --no-compile
	@.venv/bin/python -c 'import textmodel._native' 2> /dev/null || { \
		echo 'The compiled engine was not built (is there a C compiler?): installing TensorFlow to run the models.'; \
		$(INSTALL) '.[server,tensorflow]'; }
	@touch $@

# Without cargo this target says so, and grpcio serves gRPC.
build/.native: $(wildcard service/grpc/native/*.* service/grpc/native/src/*.rs)
	$(PYTHON) service/grpc/native/build.py
	@mkdir -p build && touch $@

.venv/.dev: .venv/.server
	$(INSTALL) '.[dev]'
	@touch $@

native: build/.native ## Build the native gRPC transport in a minute or two; needs cargo

serve: .venv/.server build/.native ## Serve the shipped models on 127.0.0.1: gRPC on 50051, HTTP on 8080, metrics on 8000
	.venv/bin/text-classifier-server --models models

models: .venv/.dev ## Train the shipped models into MODELS, from DATA_DIR or Keras's download
	.venv/bin/text-classifier-train imdb --models=$(MODELS) $(if $(DATA_DIR),--data-dir=$(DATA_DIR))
	.venv/bin/text-classifier-train reuters --models=$(MODELS) $(if $(DATA_DIR),--data-dir=$(DATA_DIR))
	.venv/bin/text-classifier-train imdb --preset=ngram --models=$(MODELS) $(if $(DATA_DIR),--data-dir=$(DATA_DIR))
	.venv/bin/text-classifier-train reuters --preset=ngram --models=$(MODELS) $(if $(DATA_DIR),--data-dir=$(DATA_DIR))
	$(if $(DATA_DIR),.venv/bin/text-classifier-train --name=nsmc --data=$(DATA_DIR)/nsmc-train.jsonl.gz \
		--test-data=$(DATA_DIR)/nsmc-test.jsonl.gz --features=characters --char-ngrams=1,5 \
		--char-spans=across-words --cost=0.3 --models=$(MODELS))

test: .venv/.dev build/.native ## Run all tests in JOBS processes; some need DATA_DIR, KSERVE_PYTHON or MLSERVER_PYTHON
	.venv/bin/pytest --numprocesses=$(JOBS) --dist=loadscope --no-loadscope-reorder \
		$(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE)) \
		$(if $(DATA_DIR),--data-dir=$(DATA_DIR)) $(if $(KSERVE_PYTHON),--kserve-python=$(KSERVE_PYTHON)) \
		$(if $(MLSERVER_PYTHON),--mlserver-python=$(MLSERVER_PYTHON))

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZERS = $(shell $(CC) -print-file-name=libasan.so) $(shell $(CC) -print-file-name=libubsan.so)

sanitize: .venv/.dev ## Run the tests and fuzzers of the C code under AddressSanitizer and UndefinedBehaviorSanitizer
	rm -rf build/sanitize
	mkdir -p build/sanitize
	git ls-files -z | grep -zv '^models/' | xargs -0 cp --parents -t build/sanitize
	cd build/sanitize && CFLAGS='$(SANITIZE) -g' LDFLAGS='$(SANITIZE)' ../../.venv/bin/python setup.py -q build_ext --inplace
	cd build/sanitize && LD_PRELOAD='$(SANITIZERS)' ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
		../../.venv/bin/python -m pytest -q --numprocesses=2 --dist=loadscope --no-loadscope-reorder \
		tests/textmodel/test_compiled_*.py tests/fuzz/test_model_files.py

bench: .venv/.dev build/.native ## Measure everything into benchmarks/results/; needs DATA_DIR and h2load (Debian: nghttp2-client)
	.venv/bin/python -m benchmarks --data-dir=$(DATA_DIR)

soak: .venv/.dev build/.native ## Run the server under changing clients for MINUTES: memory and open files must stay flat
	.venv/bin/python -m benchmarks.soak --minutes=$(MINUTES)

attack: .venv/.dev build/.native ## Attack a server, and measure its memory and the latency of another client
	.venv/bin/python -m benchmarks.attack $(if $(TRANSPORT),--transport=$(TRANSPORT))

lint: .venv/.dev ## Check style, types, security and the contracts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/bandit --quiet --recursive --configfile pyproject.toml service text_classifier textmodel textfiles training bulk
	.venv/bin/buf lint

nativelint: build/.native ## Check the native transport's style and run its own tests; needs cargo
	if [ -e build/native/crate/Cargo.lock ]; then cd build/native/crate && export CARGO_TARGET_DIR=../target MAKEFLAGS= \
		&& cargo fmt --check && cargo clippy --all-targets --quiet -- -D warnings && cargo test --release --quiet; fi

audit: .venv/.dev ## Look the pinned packages up in the database of known vulnerabilities; needs the network
	.venv/bin/pip install --quiet pip-audit
	.venv/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

# The second contract becomes a part of the server: a top-level package `inference` could clash with others.
proto: .venv/.dev ## Generate the stubs from the contracts
	.venv/bin/python -m grpc_tools.protoc -Iproto -Iservice/grpc/stubs=proto/inference \
		--python_out=. --pyi_out=. --grpc_python_out=. $(PROTO)

docs: .venv/.dev ## Write the API reference from the contract's comments
	.venv/bin/python -m tools.api_reference

completion: .venv/.dev ## Write the commands' completion scripts for bash, fish and zsh below SHARE
	.venv/bin/python -m tools.completion $(SHARE)

PIP_WHEEL = build/pip/bin/pip --disable-pip-version-check wheel --no-deps --wheel-dir dist

build/pip:
	$(PYTHON) -m venv $@

wheel: build/pip build/.native ## Build the wheel of everything, with the compiled engine and the native transport, into dist/
	$(PIP_WHEEL) --quiet .

client-wheel: build/pip ## Build the wheel for client programs, text-classifier-client, into dist/
	rm -rf build/client
	mkdir -p build/client
	cp -r packaging/client/. LICENSE text_classifier build/client
	$(PIP_WHEEL) --quiet build/client

constraints: ## Pin the newest versions of all packages in constraints.txt
	$(PYTHON) -m venv .venv-new
	.venv-new/bin/pip install --quiet '.[dev]'
	.venv-new/bin/pip list --format freeze --exclude pip --exclude setuptools --exclude text-classifier > constraints.txt
	rm -r .venv-new

clean: ## Remove everything that the targets created
	rm -rf .venv .venv-* build dist examples/node/node_modules tests/e2e/node_modules *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
