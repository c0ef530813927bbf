# `make demo` and `make test` need nothing beforehand but git, make and Debian's python3:
# what else they need is found out and installed (apt-get, with sudo when not root), then the
# package goes into a virtual environment of its own. A second run starts at once.

PYTHON ?= python3
VENV ?= .venv
# How long the soak lasts; SEED=... repeats its random choices.
MINUTES ?= 60
# How many processes run the tests: one more than there are CPUs, as a good part of them waits.
WORKERS ?= $(shell expr $$(nproc) + 1)
# Where the test tools keep their caches, so that the checkout stays clean.
CACHES ?= $(abspath $(VENV))/caches

BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
# The tests start a thousand commands: who wants no bytecode beside the sources gets it elsewhere.
BYTECODE = $(if $(PYTHONDONTWRITEBYTECODE), \
  env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CACHES)/bytecode)
PYTEST = $(BYTECODE) $(BIN)/python -m pytest -o cache_dir=$(CACHES)/pytest \
  -n $(WORKERS) --dist worksteal
# What somebody waits for has no long tests; CI has them, and ALL=1.
QUICK = $(if $(ALL)$(filter true,$(CI)),,-m 'not long')
export RUFF_CACHE_DIR ?= $(CACHES)/ruff
export MYPY_CACHE_DIR ?= $(CACHES)/mypy
export HYPOTHESIS_STORAGE_DIRECTORY ?= $(CACHES)/hypothesis

comma := ,
# $(call unless,COMMAND,PACKAGES): the Debian packages that are missing when COMMAND fails.
unless = $(shell { $(1); } >/dev/null 2>&1 || echo $(2))
include_dir = import sysconfig; print(sysconfig.get_path('include'))
missing = $(strip \
  $(call unless,$(PYTHON) -c "import ensurepip",python3-venv) \
  $(call unless,test -e "$$($(PYTHON) -c "$(include_dir)")/Python.h",python3-dev) \
  $(call unless,cc -E -include stdio.h -x c /dev/null,gcc libc6-dev) \
  $(call unless,command -v pkg-config,pkg-config) \
  $(call unless,pkg-config --exists fuse3,libfuse3-dev) \
  $(call unless,command -v fusermount3,fuse3))
# What the tests run on the devices, in a terminal, on the manual page and, though only CI has to, on the C code.
missing_for_tests = $(strip $(call unless,command -v fio,fio) $(call unless,command -v sqlite3,sqlite3) \
  $(call unless,command -v lsattr,e2fsprogs) \
  $(call unless,command -v busybox,busybox) $(call unless,command -v rsync,rsync) \
  $(call unless,command -v tmux,tmux) \
  $(call unless,command -v mandoc,mandoc) $(call unless,command -v groff,groff-base) \
  $(if $(filter true,$(CI)),$(call unless,command -v clang,clang)))
# What shows a page to the tests of it.
missing_for_browser = $(call unless,command -v chromium,chromium)
# What makes a Debian and runs it.
missing_for_containers = $(strip \
  $(call unless,command -v debootstrap,debootstrap) \
  $(call unless,command -v systemd-nspawn,systemd-container))

# $(call alive,COMMAND,SED): run what takes minutes, with a line for each step, which SED makes of
# the lines of its output; if it fails, print all of that, and at the end what to do.
define alive
log=$$(mktemp) || exit 1; trap 'rm -f "$$log" "$$log.failed"' EXIT; \
{ { $(1); } 2>&1 || touch "$$log.failed"; } | tee "$$log" | sed -nu $(2); \
[ -e "$$log.failed" ] || exit 0; \
cat "$$log" >&2; \
case $$(cat "$$log") in \
  *"No space left on device"* | *"enough free space"*) \
    why="no space is left; df -h shows where, make some";; \
  *"emporary failure"* | *"ould not resolve"* | *"etwork is unreachable"* | \
  *"Failed to fetch"* | *"Failed to establish a new connection"*) \
    why="the network cannot be reached; see to it";; \
  *) why="the lines above have the reason; see to it";; \
esac; \
echo "$$why, and run make again" >&2; exit 1
endef
steps_of_apt = -e 's/^Get:[0-9]* [^ ]* [^ ]* [^ ]* \([^[ ]*\) .*/  fetched \1/p' \
  -e 's/^Setting up \([^ ]*\) .*/  set up \1/p'
steps_of_pip = -e '/finished with/d' \
  -e 's/^ *\(Collecting\|Building \(wheel\|editable\) for\) \([^ (;<>=!~]*\).*/  \1 \3/p' \
  -e 's/^ *\(Installing [^:]*\):.*/  \1/p'

# $(call install,PACKAGES): install Debian packages, if there are any to install.
define install
@missing="$(1)"; [ -n "$$missing" ] || exit 0; \
if [ "$$(id -u)" = 0 ]; then as_root=env; else as_root=sudo; fi; \
command -v apt-get >/dev/null && command -v $$as_root >/dev/null || { \
  echo "please install as root: apt-get install $$missing (Debian's names)" >&2; exit 1; }; \
echo "installing Debian's $$missing ..."; \
apt_get="$$as_root DEBIAN_FRONTEND=noninteractive apt-get -q"; \
$(call alive,$$apt_get update && $$apt_get install -y --no-install-recommends $$missing,$(steps_of_apt))
endef

.DELETE_ON_ERROR:
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo)
.PHONY: help demo test test-browser test-systemd test-debian test-asan bench lint lint-c pytest unit \
  docs locale man pictures soak setup clean

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

demo: $(BIN)/.installed ## a first tour on a temporary mount
	@$(BIN)/scullvfs demo

test: lint docs ## lint, the documentation, then all tests but the long ones; ALL=1, these too
	@$(PYTEST) $(QUICK)

test-browser: $(BIN)/.browsable ## the page of `scullvfs view` in Chromium
	@$(PYTEST) tests/browser

test-systemd: ## units and fstab under a real systemd, in a container; DEBIAN=DIR keeps its Debian
	$(call install,$(missing_for_containers))
	@$(AS_ROOT) $(PYTHON) -B -m tests.systemd.run $(DEBIAN:%=--cache %)

test-debian: ## the README's commands on a fresh Debian, SUITE=trixie (or bookworm, sid); DEBIAN=DIR keeps it
	$(call install,$(missing_for_containers))
	@$(AS_ROOT) $(PYTHON) -B -m tests.debian.run $(SUITE:%=--suite %) $(DEBIAN:%=--cache %) $(STEPS)

test-asan: $(BIN)/.testable ## the tests that go through the extension, with sanitizers in it
	@$(BIN)/python -B tests/asan -n $(WORKERS) --dist worksteal

bench: $(BIN)/.installed ## what it costs; SAVE=old.json before a change, BASE=old.json after it
	@$(BIN)/python tests/bench $(if $(SAVE),--save '$(SAVE)') $(if $(BASE),--base '$(BASE)')

pytest: $(BIN)/.testable ## some of the tests: TESTS=tests/vfs
	@$(PYTEST) $(TESTS)

unit: $(BIN)/.testable ## the tests that need no mount
	@$(PYTEST) $(QUICK) --ignore=tests/vfs --ignore=tests/truth --ignore=tests/soak

soak: $(BIN)/.testable ## an hour of everything at once, or MINUTES=...
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: $(BIN)/.testable ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --strict scullvfs

lint-c: $(BIN)/.testable ## the extension by gcc and, if it is there, clang, with all warnings
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/vfs/test_libfuse.py -k warning

SPHINX = @$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/docs/doctrees

docs: $(BIN)/.testable ## the documentation, into build/docs: HTML, English and Chinese, and the manual page
	@rm -rf build/docs # of a page that is as it was, Sphinx does not repeat the warnings
	$(SPHINX) -b html . build/docs/html
	$(SPHINX) -b man . build/docs/man
	$(SPHINX) -d build/docs/doctrees-zh_CN -D language=zh_CN -b html . build/docs/html/zh_CN
	@echo "the documentation is in build/docs/html/index.html, in Chinese in zh_CN/ beside it"

locale: $(BIN)/.testable ## bring docs/locale up to date with the pages that are translated
	@$(BIN)/python docs/catalogues.py

# On a mount whose path and seed are always the same, as they are in the pictures.
pictures: MOUNT = /tmp/scullv
pictures: $(BIN)/.browsable ## draw the pictures of the documentation anew
	@mkdir -p $(MOUNT) docs/pictures
	@$(BIN)/scullvfs mount -o mem=64M,drivers=scullv:scullp $(MOUNT)
	@dd if=/dev/zero of=$(MOUNT)/scullv0 bs=64k count=20 status=none
	@dd if=/dev/zero of=$(MOUNT)/scullp0 bs=4k count=500 status=none
	@$(BIN)/scullvfs show --at 200000 -o docs/pictures/show.svg $(MOUNT)/scullv0
	@$(BIN)/scullvfs map -o docs/pictures/map.svg $(MOUNT)
	@$(BIN)/python docs/screens.py $(MOUNT) docs/pictures
	@$(BIN)/scullvfs umount $(MOUNT)
	@rmdir $(MOUNT)

man: $(BIN)/.testable ## bring docs/man up to date with the options and docs/scullvfs.8.md
	@$(BIN)/python docs/manpage.py
	$(SPHINX) -E -b man . docs/man

setup: $(BIN)/.testable ## only install what the others need

clean: ## remove everything that the others made here
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find scullvfs tests -name __pycache__ -prune -exec rm -rf {} +
	find scullvfs -name '*.so' -delete
	find docs/locale -name '*.mo' -delete

# Editable: what runs and what is tested is this checkout. Only the extension has to be rebuilt.
# The demo does without it; the tests would prove nothing of what needs it.
EXTENSION = $(addprefix scullvfs/fuse/lowlevel/,build.py handlers.c loop.c module.c poll.c \
  request.c scatterlist.c session.c)

$(BIN)/.installed: pyproject.toml $(EXTENSION) | $(BIN)/python
	@echo "installing scullvfs in $(VENV) ..."
	@$(call alive,$(PIP_INSTALL) -e '.[view]',$(steps_of_pip))
	@$(BIN)/python -c 'import scullvfs.fuse.lowlevel._interpose' >/dev/null 2>&1 || \
	  echo "without its extension: '$(BIN)/scullvfs doctor' says what that costs" >&2
	@touch $@

$(BIN)/.testable: pyproject.toml $(EXTENSION) | $(BIN)/python
	$(call install,$(missing_for_tests))
	@echo "installing scullvfs and its test tools in $(VENV) ..."
	@$(call alive,SCULLVFS_EXTENSION=required $(PIP_INSTALL) -e '.[test$(comma)docs]',$(steps_of_pip))
	@touch $@ $(BIN)/.installed

$(BIN)/.browsable: pyproject.toml | $(BIN)/.testable
	$(call install,$(missing_for_browser))
	@echo "installing what drives a browser in $(VENV) ..."
	@$(call alive,SCULLVFS_EXTENSION=required $(PIP_INSTALL) -e '.[browser]',$(steps_of_pip))
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "scullvfs needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(call install,$(missing))
	@echo "making the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "no virtual environment can be made in $(VENV); is there space left (df -h)?" >&2; exit 1; }
