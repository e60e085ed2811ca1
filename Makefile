# make book    install, build the open face model and its head, execute and render the book
# make test    install, run all tests
# make lab     open the chapters in JupyterLab
# make bench   measure speed and memory against the naive way and the peer library
# make serve   show the rendered book at http://localhost:8000
# make clean   remove everything that was built, the virtual environment included

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PORT ?= 8000

# Spinning threads slow each other down on a busy machine; one is also what makes results repeatable.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: book test lab bench serve clean lint browser

book: $(INSTALLED)
	@$(BIN)/python -m facenb.open_model
	@$(BIN)/python -m facenb.heads
	@$(BIN)/jupyter-book build . --warningiserror --keep-going || { \
	  echo "make book: failed; what went wrong stands above. Mend it and type the same command, only what changed runs again"; exit 1; }
	@echo "The book is ready: open _build/html/index.html, or type 'make serve'."

test: $(INSTALLED) browser
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -n auto

lab: $(INSTALLED)
	@$(BIN)/python -m facenb.open_model
	@$(BIN)/python -m facenb.heads
	@JUPYTER_CONFIG_PATH=book/_lab $(BIN)/jupyter lab book/index.md # chapters open as notebooks on a double click

bench: $(INSTALLED) browser
	@$(BIN)/python -m benchmarks.run
	@$(BIN)/python -m benchmarks.live_figures

serve:
	@test -f _build/html/index.html || { echo "make serve: there is no book yet; type 'make book' first"; exit 1; }
	@$(PYTHON) -c 'import socket; socket.socket().bind(("127.0.0.1", $(PORT)))' 2>/dev/null || { \
	  echo "make serve: port $(PORT) is taken; type 'make serve PORT=8001'"; exit 1; }
	@echo "http://localhost:$(PORT) (stop with Ctrl-C)"
	@$(PYTHON) -m http.server --directory _build/html --bind 127.0.0.1 $(PORT)

clean:
	rm -rf $(VENV) _build book/_api *.egg-info .pytest_cache .ruff_cache .hypothesis

# The browser tests need a Chromium: any one on this machine will do, else Playwright fetches its own.
browser: $(INSTALLED)
	@$(BIN)/python tests/chromium.py >/dev/null 2>&1 || $(BIN)/playwright install chromium || { \
	  echo "make test: no Chromium found and none could be fetched; install one (Debian: apt install chromium)"; exit 1; }

$(INSTALLED): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no '$(PYTHON)'; install Python 3.11 or newer, or type 'make PYTHON=...'"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$($(PYTHON) --version) is too old; install Python 3.11 or newer, or type 'make PYTHON=/path/to/python3.11'"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "make: could not create $(VENV); on Debian and Ubuntu install python3-venv"; exit 1; }
	@echo "Installing into $(VENV): two to five minutes of silence and 7 GB (PyTorch), once ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e . || { \
	  echo "make: installing failed; is the network reachable and is there 7 GB of free disk? Type the same command to go on"; exit 1; }
	@touch $@
