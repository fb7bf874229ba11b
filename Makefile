# One command a task; every one of them first brings .venv and the extension up to date.
PYTHON ?= python3
CXX ?= g++
ENV := .venv
BIN := $(ENV)/bin
NATIVE := CMakeLists.txt pyproject.toml longspan/cells.py longspan/kernels/program.py longspan/kernels/emit_cpp.py $(wildcard csrc/*)
AGAIN := and run the same command again.

.PHONY: test test-all peers demo docs options wheel hooks lint sanitize sanitize-threads neon bench clean

test: $(ENV)/.built
	$(BIN)/python -m pytest

test-all: $(ENV)/.built
	$(BIN)/python -m pytest -m "slow or not slow"

# Keras' own tests over this library: make peers KERAS=<a checkout of Keras 3.15's source>.
peers: $(ENV)/.built
	@test -n "$(KERAS)" || { echo "make peers needs Keras' source: clone its release v3.15.1 and run make peers KERAS=its-folder"; exit 1; }
	OMP_NUM_THREADS=1 KERAS_BACKEND=torch $(BIN)/python -m tests.peers $(KERAS)

demo: $(ENV)/.built
	$(BIN)/longspan demo forecast

# An sdist and a wheel in dist/, the wheel installed and tried in an environment of its own, where no compiler is needed.
# On Linux auditwheel names the oldest system that it runs on.
wheel: docs
	rm -rf dist build/wheel-env
	$(BIN)/python -m build --outdir dist .
	@test "$$(uname)" != Linux || PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir dist --only-plat dist/*-linux_*.whl && rm -f dist/*-linux_*.whl
	@test -z "$$(find dist -size +8M)" || { echo "dist/: expected files under 8 MB: $$(du -h dist/*)"; exit 1; }
	$(PYTHON) -m venv build/wheel-env
	build/wheel-env/bin/python -m pip install -qq -c constraints-dev.txt dist/*.whl
	cd build/wheel-env && CXX=false CC=false bin/python ../../tests/wheel_check.py
	@ls -l dist

# The documentation as longspan/site/, which `longspan docs` opens; no page needs another machine.
docs: $(ENV)/.built
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The options of every task in its class's docstring, which editors show; a test says when it is time.
options: $(ENV)/.built
	$(BIN)/python -m docs.builder.options

bench: $(ENV)/.built
	$(BIN)/python -m benchmarks.cells

hooks: $(ENV)/.built
	$(BIN)/pre-commit run --all-files

lint: $(ENV)/.built
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/clang-format --dry-run --Werror csrc/*

# The kernels' tests over a build with the address and undefined-behaviour sanitizers. Python itself never frees all it
# holds, so leaks are not looked for; -S keeps the editable install out of the way of the sanitized one.
sanitize: $(ENV)/.built
	$(BIN)/python -m pip install -qq -c constraints-dev.txt --no-build-isolation --no-deps --upgrade --target build/sanitize \
		-C build-dir=build/sanitize-cmake -C cmake.build-type=Debug -C cmake.define.LONGSPAN_SANITIZE=ON .
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	PYTHONPATH=build/sanitize:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	$(BIN)/python -S $(BIN)/pytest --capture=sys tests/kernels tests/models/test_native_step.py

# The kernels' tests with several threads over a build with ThreadSanitizer, in which kernels start threads of their own. It needs
# addresses as they were laid out before they were random, and no thread that polars' allocator starts beside Python.
sanitize-threads: $(ENV)/.built
	$(BIN)/python -m pip install -qq -c constraints-dev.txt --no-build-isolation --no-deps --upgrade --target build/sanitize-threads \
		-C build-dir=build/sanitize-threads-cmake -C cmake.build-type=Debug -C cmake.define.LONGSPAN_SANITIZE=thread .
	LD_PRELOAD="$$($(CXX) -print-file-name=libtsan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	TSAN_OPTIONS="halt_on_error=1 suppressions=$(CURDIR)/tests/kernels/tsan.supp" OMP_NUM_THREADS=1 \
	POLARS_MAX_THREADS=1 _RJEM_MALLOC_CONF=background_thread:false \
	PYTHONPATH=build/sanitize-threads:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	setarch $$(uname -m) -R $(BIN)/python -S $(BIN)/pytest --capture=sys -n 0 -k threads tests/kernels

# The kernels' parity on another processor, in its emulator (Debian: apt-get install g++-aarch64-linux-gnu qemu-user).
neon: $(ENV)/.built
	@command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null || { echo "make neon needs a compiler and an emulator:" \
		"install them (Debian: apt-get install g++-aarch64-linux-gnu qemu-user) $(AGAIN)"; exit 1; }
	LONGSPAN_NAN_MEMORY=1 $(BIN)/python -m pytest -p tests.kernels.emulated tests/kernels/test_parity.py

clean:
	rm -rf $(ENV) build dist longspan/site

$(ENV)/.tools: pyproject.toml constraints-dev.txt
	@command -v $(CXX) >/dev/null || { echo "longspan needs a C++17 compiler: install g++ (Debian: apt-get install g++;" \
		"Fedora: dnf install gcc-c++; macOS: xcode-select --install) $(AGAIN)"; exit 1; }
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "longspan needs" \
		"Python 3.10 or newer with venv: install it (Debian: apt-get install python3-venv; Fedora: dnf install python3;" \
		"macOS: brew install python) or name one (make PYTHON=python3.12) $(AGAIN)"; exit 1; }
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install -qq -c constraints-dev.txt torch scikit-build-core nanobind cmake ninja
	@touch $@

# Without build isolation the build keeps its folder and its objects from one change to the next.
$(ENV)/.built: $(ENV)/.tools $(NATIVE)
	$(BIN)/python -m pip install -qq -c constraints-dev.txt --no-build-isolation -e '.[dev]'
	@touch $@
