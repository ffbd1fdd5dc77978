# The front door. `make help` says what there is; every target sets up what it needs.

PYTHON   ?= python3
PROFILE  ?= cpu
EXECUTOR ?= local
CLUSTER  ?=
SEEDS    ?=
JOBS     ?=
ROWS     ?=

VENV    := .venv
BIN     := $(VENV)/bin
HARNESS := $(BIN)/harness
FLAGS    = --profile $(PROFILE) --executor $(EXECUTOR) \
           $(if $(SEEDS),--seeds $(SEEDS)) $(if $(JOBS),--jobs $(JOBS)) $(if $(ROWS),--rows '$(ROWS)') \
           $(if $(CLUSTER),--cluster $(CLUSTER))

.DEFAULT_GOAL := help
.PHONY: help install install-dev costs table2 table4 table5 table6 table7 table8 table9 table10 table11 fig2 fig3 fig6 budget-curve attmask-strategies attmask-ratio attmask-share attmask-full attmask-dino asymmetric-dino teacher test check bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables      PROFILE=$(PROFILE) EXECUTOR=$(EXECUTOR) SEEDS=0,1,2 JOBS=2 ROWS='*keep50' CLUSTER=cluster.yaml"

install: $(VENV)/.installed ## the virtual environment with everything `harness` needs

install-dev: $(VENV)/.installed-dev

table2: install ## MaskedKD table 2: run what is missing, then report
	@$(call run-and-report,maskedkd/table2)

table4: install ## MaskedKD table 4: a masked teacher in DINO
	@$(call run-and-report,maskedkd/table4)

table5: install ## MaskedKD table 5: random patches late in training
	@$(call run-and-report,maskedkd/table5)

table6: install ## MaskedKD table 6: which attention, layer and patches
	@$(call run-and-report,maskedkd/table6)

table7: install ## MaskedKD table 7: teachers with another grid
	@$(call run-and-report,maskedkd/table7)

table8: install ## MaskedKD table 8: a frozen student
	@$(call run-and-report,maskedkd/table8)

table9: install ## MaskedKD table 9: augmentation
	@$(call run-and-report,maskedkd/table9)

table10: install ## MaskedKD table 10: cost by operation
	@$(call run-and-report,maskedkd/table10)

table11: install ## MaskedKD table 11: memory
	@$(call run-and-report,maskedkd/table11)

fig2: install ## MaskedKD figure 2: fewer and fewer patches
	@$(call run-and-report,maskedkd/fig2)

fig3: install ## MaskedKD figure 3: criteria over training
	@$(call run-and-report,maskedkd/fig3)

fig6: install ## MaskedKD figure 6: masking against merging
	@$(call run-and-report,maskedkd/fig6)

budget-curve: install ## accuracy as the student's training grows, half of the teacher's patches
	@$(call run-and-report,maskedkd/budget)

costs: install ## what MaskedKD's tables and Figure 6 cost, computed: a minute, no data
	@for table in table2 table4 table7 table8 table9 table10 table11 fig6; do \
	  $(HARNESS) run maskedkd/$$table --profile paper --kinds flops,view-flops,operations,activations && \
	  $(HARNESS) report maskedkd/$$table --profile paper --format md,csv || exit $$?; \
	done

attmask-strategies: install ## AttMask: what is masked
	@$(call run-and-report,attmask/strategies)

attmask-ratio: install ## AttMask: how much is masked
	@$(call run-and-report,attmask/ratio)

attmask-share: install ## AttMask: how much data
	@$(call run-and-report,attmask/share)

attmask-full: install ## AttMask: all of the data, few-shot k-NN
	@$(call run-and-report,attmask/full)

attmask-dino: install ## AttMask table 3: masks in DINO, no patch loss
	@$(call run-and-report,attmask/dino)

asymmetric-dino: install ## random masks of the student's global views
	@$(call run-and-report,asymmetric/dino-tiny)

teacher: PROFILE = paper
teacher: install ## train the shipped Fashion-MNIST teacher again and compare
	@$(call run-and-report,teachers/fashion-mnist)

test: install-dev ## all tests
	$(BIN)/python -m pytest

check: install-dev ## specs, format, lint, types
	$(HARNESS) check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install-dev ## measure what is claimed about speed (minutes)
	$(BIN)/python benchmarks/masked_step.py
	$(BIN)/python benchmarks/selfdistillation_step.py

clean: ## remove the virtual environment and caches; results and reports stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info

# Failed runs (exit 2) still get a report that says so; a user's error (exit 1) or Ctrl-C ends here.
define run-and-report
	code=0; $(HARNESS) run $(1) $(FLAGS) || code=$$?; \
	if [ $$code -ne 0 ] && [ $$code -ne 2 ]; then exit $$code; fi; \
	$(HARNESS) report $(1) --profile $(PROFILE) && exit $$code
endef

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here: install Python 3.11 or newer, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=/path/to/python3)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	@free=$$(df -Pk . | awk 'NR==2 {print int($$4/1048576)}'); if [ "$$free" -lt 8 ]; then echo "error: PyTorch needs about 7 GiB on this disk, $$free GiB are free"; exit 1; fi
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing PyTorch and the other packages into $(VENV) (about 6 GB, a few minutes the first time)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
