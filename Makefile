# The front door. `make help` says what there is; every target sets up what it needs.

# What is given empty counts as not given.
given = $(strip $(value $(1)))
default = $(if $(call given,$(1)),,$(eval override $(1) := $(2)))

# Sounds, boxes and masks have small profiles of their own.
ifeq ($(call given,PROFILE),)
table3: override PROFILE := fsdd
table12-detection table12-segmentation: override PROFILE := canvases
endif

$(call default,PYTHON,python3)
$(call default,PROFILE,fashion-mnist)
$(call default,EXECUTOR,local)
CLUSTER     ?=
SEEDS       ?=
JOBS        ?=
ROWS        ?=
TASKS       ?=
OFFLINE     ?=
UNTIL_SETTLED ?=
REFERENCE   ?=
TORCH       ?=
TORCH_INDEX ?=

# What the user gives is text: never expanded here, and handed to the shell as a variable of its
# environment, so that no space, quote, semicolon or $(...) in it means anything.
VARIABLES := PYTHON PROFILE EXECUTOR CLUSTER SEEDS JOBS ROWS TASKS OFFLINE UNTIL_SETTLED REFERENCE TORCH TORCH_INDEX
$(foreach name,$(VARIABLES),$(eval origin_of_$(name) := $(if $(call given,$(name)),$(firstword $(origin $(name))))))
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name))))
export $(VARIABLES)

# A misspelt variable would be ignored without a word.
unknown := $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),\
  $(filter-out $(VARIABLES) SHELL MAKEFLAGS,$(name)))))
quoted = '$(subst ','\'',$(1))'
nearest = $(shell $(call quoted,$(PYTHON)) -c 'import difflib as d, sys; \
  print(*d.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1, 0))' \
  $(call quoted,$(firstword $(unknown))) $(VARIABLES))
ifneq ($(filter KINDS,$(unknown)),)
$(error the variable KINDS is now called TASKS)
endif
ifneq ($(unknown),)
$(error there is no variable $(firstword $(unknown)); did you mean $(nearest)? (there are: $(VARIABLES)))
endif

# Of a switch, 0 is off; what is neither on nor off is a mistake.
on := 1 yes Yes YES on On ON true True TRUE
off := 0 no No NO off Off OFF false False FALSE
$(foreach name,OFFLINE UNTIL_SETTLED,\
  $(if $(filter-out $(on) $(off),$(call given,$(name))),$(error $(name) is 1 or 0, got '$(value $(name))'))\
  $(if $(filter $(on),$(call given,$(name))),,$(eval override $(name) :=)))

BIN := .venv/bin
HARNESS := $(BIN)/python -m harness

# tables by the folder of their specs
maskedkd := table2 table3 table4 table5 table6 table7 table8 table9 table10 table11 table12-detection table12-segmentation fig1 fig2 fig3 fig4 fig6 fig7 fig8 fig9
attmask := $(addprefix attmask-,strategies ratio share full dino)
mae := mae mae-ablation
lut := lut lut-views
dinov2 := $(addprefix dinov2-,ablation short)

tables := $(maskedkd) budget-curve $(attmask) asymmetric-dino $(mae) $(lut) dinov2 $(dinov2)

# A variable that no target of this call reads would be ignored without a word, too.
setup := PYTHON TORCH TORCH_INDEX
of_table := PROFILE EXECUTOR CLUSTER SEEDS JOBS ROWS TASKS OFFLINE UNTIL_SETTLED
takes = $(if $(filter help,$(1)),$(VARIABLES),$(setup) $(if $(filter $(tables),$(1)),$(of_table))\
  $(if $(filter teacher,$(1)),$(filter-out PROFILE,$(of_table)))\
  $(if $(filter references,$(1)),REFERENCE JOBS UNTIL_SETTLED))
goals := $(or $(MAKECMDGOALS),help)
unread := $(filter-out $(foreach goal,$(goals),$(call takes,$(goal))),\
  $(foreach name,$(VARIABLES),$(if $(filter command,$(origin_of_$(name))),$(name))))
ifneq ($(unread),)
$(error make $(firstword $(goals)) does not read $(firstword $(unread)); it reads $(sort $(call takes,$(firstword $(goals)))))
endif

.DEFAULT_GOAL := help
.PHONY: help install install-dev costs $(tables) teacher references test check docs bench bench-gpu clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  times are of 2 CPU cores at PROFILE=fashion-mnist; what is finished is never computed again"
	@echo "  variables      PROFILE=$$PROFILE EXECUTOR=$$EXECUTOR SEEDS=0,1,2 JOBS=2 ROWS='*keep50' TASKS=cost OFFLINE=1 CLUSTER=cluster.yaml"
	@echo "                 UNTIL_SETTLED=1 (3, then 6, then 12 seeds, until each claim is settled)"
	@echo "                 PYTHON=$$PYTHON TORCH=cpu (no CUDA: a smaller installation)"

install: ## the virtual environment with everything `harness` needs
	@command -v "$$PYTHON" >/dev/null || { echo "error: no $$PYTHON here: install Python 3.11 or newer, or say make PYTHON=/path/to/python3"; exit 1; }
	@"$$PYTHON" install.py --torch="$$TORCH" --torch-index="$$TORCH_INDEX"

install-dev: install
	@"$$PYTHON" install.py --dev

table2: ## MaskedKD table 2, the main one: what is missing is run, then reported; 12 minutes
table3: ## MaskedKD table 3, sounds: a masked spectrogram transformer, PROFILE=fsdd; 7 minutes
table4: ## MaskedKD table 4: a masked teacher in DINO; 20 minutes
table5: ## MaskedKD table 5: random patches late in training; 11 minutes
table6: ## MaskedKD table 6: which attention, layer and patches; 17 minutes
table7: ## MaskedKD table 7: teachers with another grid; half an hour
table8: ## MaskedKD table 8: a frozen student; 9 minutes
table9: ## MaskedKD table 9: augmentation; 22 minutes
table10: ## MaskedKD table 10: cost by operation; a few seconds
table11: ## MaskedKD table 11: memory (measured on a GPU); a few seconds
table12-detection: ## MaskedKD table 12: object detection, PROFILE=canvases; 23 minutes
table12-segmentation: ## MaskedKD table 12: classes of pixels, PROFILE=canvases; 20 minutes
fig1: ## MaskedKD figure 1: what teachers and students cost; a few seconds
fig2: ## MaskedKD figure 2: fewer and fewer patches; 25 minutes (estimated)
fig3: ## MaskedKD figure 3: criteria over training; 15 minutes (estimated)
fig4: ## MaskedKD figures 4 and 5: which patches are used, and when; 15 minutes (estimated)
fig6: ## MaskedKD figure 6: masking against merging; 50 minutes (estimated)
fig7: ## MaskedKD figure 7: what a student with random weights hides; under a minute
fig8: ## MaskedKD figure 8: student and teacher on two devices; a minute
fig9: ## MaskedKD figure 9: a small and a large teacher; 40 minutes (estimated)
$(maskedkd): install
	@$(call reproduce,maskedkd/$@)

budget-curve: install ## accuracy as the student's training grows, half of the teacher's patches; 1 h 40 min
	@$(call reproduce,maskedkd/budget)

costs: install ## what MaskedKD's tables and Figures 1, 6 and 9 cost, computed: a minute, no data
	@for table in table2 table3 table4 table7 table8 table9 table10 table11 table12-detection table12-segmentation fig1 fig6 fig9; do \
	  $(HARNESS) reproduce maskedkd/$$table --profile paper --format md,csv \
	    --tasks cost || exit $$?; \
	done

attmask-strategies: ## AttMask: what is masked; half an hour
attmask-ratio: ## AttMask: how much is masked; half an hour
attmask-share: ## AttMask: how much data; 15 minutes
attmask-full: ## AttMask: all of the data, few-shot k-NN; 20 minutes
attmask-dino: ## AttMask table 3: masks in DINO, no patch loss; 15 minutes
$(attmask): attmask-%: install
	@$(call reproduce,attmask/$*)

dinov2: $(dinov2) ## both tables of DINOv2; an hour and a half (estimated)
dinov2-ablation: ## DINOv2 table 1: from DINO to iBOT to DINOv2; an hour (estimated)
dinov2-short: ## DINOv2: the released short recipe, and its parts; half an hour (estimated)
$(dinov2): dinov2-%: install
	@$(call reproduce,dinov2/$*)

asymmetric-dino: install ## random masks of the student's global views; 35 minutes
	@$(call reproduce,asymmetric/dino-tiny)

mae: ## MAE: masked autoencoding, then fine-tuning; 8 minutes (estimated)
mae-ablation: ## MAE table 1: decoder, target, augmentation; half an hour (estimated)
$(mae): mae%: install
	@$(call reproduce,mae/$(if $*,ablation,sizes))

lut: ## LUT against MAE: unmasked tokens teach too; 14 minutes (estimated)
lut-views: ## LUT: what its loss between views is made of; an hour (estimated)
$(lut): lut%: install
	@$(call reproduce,lut/$(if $*,views,sizes))

teacher: override PROFILE := paper
teacher: install ## train the shipped Fashion-MNIST teacher again and compare; an hour
	@$(call reproduce,teachers/fashion-mnist)

references: install ## every table of results/reference/$REFERENCE run again and published; hours
	@$(HARNESS) references "$$REFERENCE" $${JOBS:+--jobs="$$JOBS"} $${UNTIL_SETTLED:+--until-settled}

test: install-dev ## all tests; under 15 minutes
	$(BIN)/python -m tests

check: install-dev ## specs, format, lint, types; a minute
	$(HARNESS) check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy

docs: install-dev ## write docs/reference.md, docs/papers.md, docs/performance.md and the pages of all claims; seconds
	$(BIN)/python docs/write_reference.py
	$(BIN)/python docs/write_papers.py
	$(BIN)/python docs/write_claims.py
	$(BIN)/python docs/write_performance.py

bench: install-dev ## measure what is claimed about speed, on a machine with two free cores; some minutes
	$(BIN)/python benchmarks/masked_step.py
	$(BIN)/python benchmarks/selfdistillation_step.py
	$(BIN)/python benchmarks/mae_step.py
	$(BIN)/python benchmarks/loss_curves.py
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/packed.py
	$(BIN)/python benchmarks/two_processes.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/many_runs.py

bench-gpu: install-dev ## a training step on a GPU beside what a model predicts, and real trainings; minutes
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/trainings.py

clean: ## remove the virtual environment and caches; results and reports stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info

reproduce = $(HARNESS) reproduce $(1) --profile="$$PROFILE" --executor="$$EXECUTOR" \
  $${SEEDS:+--seeds="$$SEEDS"} $${JOBS:+--jobs="$$JOBS"} $${ROWS:+--rows="$$ROWS"} \
  $${TASKS:+--tasks="$$TASKS"} $${CLUSTER:+--cluster="$$CLUSTER"} $${OFFLINE:+--offline} \
  $${UNTIL_SETTLED:+--until-settled}
