# The workflow that all pipelines share: cases, distances, split, first weights, training in chunks, predictions,
# scores, table. See dbisl-pipelines(7). A pipeline sets what its data are, includes a recipe and then this file:
#   LABELED_IDS, UNLABELED_IDS, TEST_IDS   the scans' names, without blanks; the labels of UNLABELED_IDS are not read
#                                          unless TRUTH is set
#   SCORED_IDS                             those of TEST_IDS that have a label, when it is not all
#   scan, label                            functions of a name: the scan's file, and its label's or nothing
#   further                                function of a name, where there are several channels: the files of the others
# Whatever is set with ?= can be set on make's command line or in the environment: a program (SDF=./my-sdf), its
# options, the launcher.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDEXPANSION:
.DEFAULT_GOAL := table

here := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
# The folder of the programs: in a source tree that of the build; otherwise they are found on PATH.
BIN ?= $(wildcard $(here)/../build/bin)
export PATH := $(if $(BIN),$(abspath $(BIN)):)$(PATH)

# Idle threads sleep: the programs of a pipe and of make -j share the cores, and a thread that spins would take a core
# from the others.
export OMP_WAIT_POLICY ?= passive

# --- what can be set --------------------------------------------------------------------------------------------------

include $(here)/names.mk
RUNS ?= runs/$(NAME)
# Cases, distances and split. Runs with the same settings for these can share the folder.
PREPARED ?= $(RUNS)
TEST_IDS := $(strip $(TEST_IDS))
SCORED_IDS ?= $(TEST_IDS)
SCORED_IDS := $(strip $(SCORED_IDS))
METHODS ?= supervised dbisl
METHODS_WITH_TEACHER ?= dbisl mean-teacher ua-mt
SEED ?= 1
STEPS ?= 600
CHUNK ?= 100
KEEP ?= 0
# TRUTH=1: reads the labels of the unlabelled scans, which then must have one, for the log alone: how good the teacher's
# pseudo-labels are.
TRUTH ?=
LAUNCH ?=
# DEVICE=cuda PRECISION=bf16: trains and predicts on a GPU. Each process sets up the GPU, cuDNN and the network again,
# so let CHUNK be thousands of steps.
DEVICE ?=
PRECISION ?=
# FUSED=1: dbisl-train-step makes its batches itself, with equal bytes. On a GPU a pipe between two programs takes as
# long as a step.
FUSED ?=

PREPROCESS ?= dbisl-preprocess
PREPROCESS_FLAGS ?=
SDF ?= dbisl-sdf
SDF_FLAGS ?= --from label --transform exact --normalize clip:10
SPLIT ?= dbisl-split
INIT ?= dbisl-init
INIT_FLAGS ?=
CHANNELS ?= 1
CLASSES ?= 1
FILTERS ?= 16
NORM ?= instance:affine
DECODERS ?= 1
SAMPLE ?= dbisl-sample
SAMPLE_FLAGS ?= --patch $(PATCH)
BATCH_LABELED ?= 2
BATCH_UNLABELED ?= 2
BATCH_UNLABELED_supervised ?= 0
# The last LAST_STEPS steps can use other crops, such as whole scans: a network that has only seen small patches does
# worse in one pass over a scan.
LAST_STEPS ?= 0
LAST_PATCH ?= $(PATCH)
LAST_SAMPLE_FLAGS ?= $(SAMPLE_FLAGS) --patch $(LAST_PATCH)
LAST_BATCH_LABELED ?= 1
LAST_BATCH_UNLABELED ?= 1
TRAIN_STEP ?= dbisl-train-step
TRAIN_FLAGS ?=
DECAY ?= 0.99
EMA ?= dbisl-ema
PREDICT ?= dbisl-predict
PREDICT_FLAGS ?= --window $(PATCH)
RESTORE ?= dbisl-restore
RESTORE_FLAGS ?=
METRICS ?= dbisl-metrics
METRICS_FLAGS ?= --unit voxel
TABLE ?= awk -f $(here)/table.awk
# FLAGS_dbisl, FLAGS_dtc, ...: options of dbisl-train-step for one method alone. VARIANT_FLAGS: more options, which come
# last.
VARIANT_FLAGS ?=

# --- names ------------------------------------------------------------------------------------------------------------

$(foreach v,RUNS PREPARED BIN,$(call check_path,$(v)))
$(call check_ids,$(LABELED_IDS) $(UNLABELED_IDS) $(TEST_IDS))
scanned_twice := $(firstword $(call twice,$(LABELED_IDS) $(UNLABELED_IDS) $(TEST_IDS)))
$(if $(scanned_twice),$(error $(scanned_twice) is named twice among the scans to train and to test on: each scan has a name of its own, and one use))

# --- settings ---------------------------------------------------------------------------------------------------------

# Each stage depends on RUNS/settings/STAGE, a file with the variables of its command. It is written anew only when they
# change, so another rate or program makes again what depends on it, and nothing else. Under `make -n` the stage's title
# is printed instead.
dry := $(findstring n,$(firstword -$(MAKEFLAGS)))
idle := $(or $(dry),$(filter describe,$(MAKECMDGOALS)))
quoted = '$(subst ','\'',$(1))'
escape = $(subst $$,$$$$,$(1))
quote = $(call escape,$(call quoted,$(1)))
same = $(if $(subst x$(1),,x$(2))$(subst x$(2),,x$(1)),,yes)
preparing := phantom preprocess sdf split
settings = $(if $(filter $(1),$(preparing)),$(PREPARED),$(RUNS))/settings/$(1)

comma := ,
define nl


endef

.PHONY: force
# $(call stage,STAGE,TITLE,SETTINGS)
define stage
stages += $(1)
settings_$(1) := $(call escape,$(strip $(3)))
$(call settings,$(1)): $(if $(call same,$(strip $(3)),$(file <$(call settings,$(1)))),,force)
	@$(if $(dry),# $(2),mkdir -p $$(@D) && printf '%s\n' $(call quote,$(strip $(3))) >$$@.part && mv $$@.part $$@)
endef

$(if $(idle),,$(shell mkdir -p $(addprefix $(PREPARED)/,cases distances settings) $(addprefix $(RUNS)/,settings $(METHODS) $(METHODS:%=%/predictions) $(METHODS:%=%/nifti))))

# --- data -------------------------------------------------------------------------------------------------------------

training := $(LABELED_IDS:%=$(PREPARED)/distances/%.st.zst) $(UNLABELED_IDS:%=$(PREPARED)/cases/%.st.zst)
testing := $(TEST_IDS:%=$(PREPARED)/cases/%.st.zst)

# A case is made of its scan and its label. Times of files do not show that a label was added or removed, because a file
# that was moved here keeps its old time. So PREPARED/settings/labels/ID holds the name of the case's label. A case that
# never had a label has no such file.
label_read = $(if $(or $(TRUTH),$(filter-out $(UNLABELED_IDS),$(1))),$(call label,$(1)))
labels := $(PREPARED)/settings/labels
label_is_new = $(if $(call same,$(call label_read,$(1)),$(file <$(labels)/$(1))),,yes)
made_of = $(call scan,$(1)) $(call further,$(1)) $(call label_read,$(1)) $(if $(call label_is_new,$(1)),$(labels)/$(1),$(wildcard $(labels)/$(1)))
$(addprefix $(labels)/,$(LABELED_IDS) $(UNLABELED_IDS) $(TEST_IDS)): $(labels)/%: $$(if $$(call label_is_new,$$*),force)
	$(if $(dry),,@mkdir -p $(@D) && printf '%s\n' '$(call label_read,$*)' >$@.part && mv $@.part $@)

$(eval $(call stage,preprocess,Scans become cases: one orientation and intensity scale. The labels of unlabelled scans are $(if $(TRUTH),for the log alone,not read).,$(PREPROCESS) $(PREPROCESS_FLAGS) $(CLASSES) $(filter-out 1,$(CHANNELS)) $(if $(TRUTH),with truth)))
$(addsuffix .st.zst,$(addprefix $(PREPARED)/cases/,$(LABELED_IDS) $(TEST_IDS))): $(PREPARED)/cases/%.st.zst: $$(call made_of,$$*) $(call settings,preprocess)
	$(strip $(LAUNCH) $(PREPROCESS) $(PREPROCESS_FLAGS) --id $* --classes $(CLASSES) $(addprefix --label ,$(call label_read,$*)) $(addprefix --channel ,$(call further,$*)) $(call scan,$*) -o $@)

$(UNLABELED_IDS:%=$(PREPARED)/cases/%.st.zst): $(PREPARED)/cases/%.st.zst: $$(call made_of,$$*) $(call settings,preprocess)
	$(strip $(LAUNCH) $(PREPROCESS) $(PREPROCESS_FLAGS) --id $* $(if $(TRUTH),--classes $(CLASSES) $(addprefix --label ,$(call label_read,$*)),$(no_label)) $(addprefix --channel ,$(call further,$*)) $(call scan,$*) -o $@)

$(eval $(call stage,sdf,Labels get their signed distance map.,$(SDF) $(SDF_FLAGS)))
$(LABELED_IDS:%=$(PREPARED)/distances/%.st.zst): $(PREPARED)/distances/%.st.zst: $(PREPARED)/cases/%.st.zst $(call settings,sdf)
	$(LAUNCH) $(SDF) $(SDF_FLAGS) $< -o $@

$(eval $(call stage,split,The first $(words $(LABELED_IDS)) cases are labelled and the other $(words $(UNLABELED_IDS)) unlabelled.,$(SPLIT) $(LABELED_IDS) / $(UNLABELED_IDS)))
$(PREPARED)/split.tsv: $(training) $(call settings,split)
	$(LAUNCH) $(SPLIT) --order given --labeled $(words $(LABELED_IDS)) $(training) -o $@

# --- training ---------------------------------------------------------------------------------------------------------

# The checkpoints: one for every CHUNK steps, and one for the last step. All but the last are secondary: make does not
# need them while what was made of them is newer than what they were made of. When a method's log is complete its
# training is done. Then its checkpoints are removed, except the last two and the multiples of KEEP. (Intermediate files
# would not do: after a kill they would stay, because make removes only those that it has made itself.)
whole = $(shell [[ '$(strip $($(1)))' =~ ^(0|[1-9][0-9]{0,9})$$ ]] && echo yes)
$(foreach v,STEPS CHUNK KEEP LAST_STEPS,$(if $(call whole,$(v)),,$(error $(v)=$($(v)): not a whole number)))
$(if $(filter 0,$(CHUNK)),$(error CHUNK=0: a process does at least one step))
last_from := $(shell echo $$(($(LAST_STEPS) < $(STEPS) ? $(STEPS) - $(LAST_STEPS) : 0)))
last_steps := $(shell echo $$(($(STEPS) - $(last_from))))
# Chunks end at the multiples of CHUNK, where the last crops begin, and at the last step.
chunks := $(shell for ((k = 0; k < $(STEPS); k += n)); do end=$$((k < $(last_from) ? $(last_from) : $(STEPS))) n=$$(($(CHUNK) - k % $(CHUNK))); \
    n=$$((end - k < n ? end - k : n)); echo $$k:$$((k + n)):$$n; done)
last := $(shell for c in $(chunks); do k=$${c%%:*}; ((k < $(last_from))) || echo $$k; done)
field = $(word $(1),$(subst :, ,$(2)))
from = $(call field,1,$(1))
to = $(call field,2,$(1))
count = $(call field,3,$(1))
points := $(foreach c,$(chunks),$(call to,$(c)))
kept := 0 $(call from,$(lastword $(chunks))) $(STEPS) $(if $(filter-out 0,$(KEEP)),$(shell seq $(KEEP) $(KEEP) $(STEPS)))
passing := $(filter-out $(kept),$(points))
has_teacher = $(filter $(1),$(METHODS_WITH_TEACHER))
batch_unlabeled = $(or $(BATCH_UNLABELED_$(1)),$(BATCH_UNLABELED))
student = $(RUNS)/$(1)/student.$(2).st.zst
teacher = $(if $(call has_teacher,$(1)),$(3)$(RUNS)/$(1)/teacher.$(2).st.zst)
log = $(RUNS)/$(1)/log.$(2).tsv
checkpoints = $(foreach p,$(2),$(call student,$(1),$(p)) $(call teacher,$(1),$(p)))
# Options of dbisl-sample and dbisl-train-step that hold for the whole run of one method.
common = --seed $(SEED)$(if $(TRUTH), --truth)
sampling = $(SAMPLE_FLAGS) --labeled $(BATCH_LABELED) --unlabeled $(call batch_unlabeled,$(1)) $(common)
# This error must come at once and not after the first method's training.
$(if $(filter-out cases describe,$(or $(MAKECMDGOALS),table)),$(foreach m,$(METHODS),$(if $(UNLABELED_IDS)$(filter 0,$(call batch_unlabeled,$(m))),,$(error \
    the method $(m) learns from unlabelled scans, and there are none: METHODS=supervised does without))))
last_unlabeled = $(or $(LAST_BATCH_UNLABELED_$(1)),$(filter 0,$(BATCH_UNLABELED_$(1))),$(LAST_BATCH_UNLABELED))
sampling_last = $(LAST_SAMPLE_FLAGS) --labeled $(LAST_BATCH_LABELED) --unlabeled $(call last_unlabeled,$(1)) $(common)
sampling_from = $(if $(filter $(last),$(2)),$(call sampling_last,$(1)),$(call sampling,$(1)))
on_device = $(if $(DEVICE), --device $(DEVICE))$(if $(PRECISION), --precision $(PRECISION))
# $(call feed,METHOD,FROM:TO:COUNT): dbisl-train-step, and where its batches come from.
from_split = --split $(PREPARED)/split.tsv $(call sampling_from,$(1),$(call from,$(2)))
feed = $(if $(FUSED),$$(LAUNCH) $$(TRAIN_STEP) $(from_split),$$(LAUNCH) $$(SAMPLE) $(from_split) --start $(call from,$(2)) --count $(call count,$(2)) --compress=none | \
  $$(LAUNCH) $$(TRAIN_STEP))
$(if $(FUSED),$(if $(filter-out dbisl-sample,$(notdir $(SAMPLE))),$(error FUSED=$(FUSED): then the batches are not made by SAMPLE=$(SAMPLE))))
stepping = --method $(1) --total-steps $(STEPS) --seed $(SEED) $(TRAIN_FLAGS) $(FLAGS_$(1)) $(VARIANT_FLAGS)$(on_device)

$(eval $(call stage,init,The student starts with fresh weights and the teacher as its copy.,$(INIT) $(CHANNELS) $(CLASSES) $(FILTERS) $(filter-out 1,$(DECODERS)) $(NORM) $(INIT_FLAGS) $(SEED)))
$(METHODS:%=$(RUNS)/%/student.0.st.zst): $(call settings,init)
	$(LAUNCH) $(INIT) --channels $(CHANNELS) --classes $(CLASSES) --filters $(FILTERS) --decoders $(DECODERS) --norm $(NORM) $(INIT_FLAGS) --seed $(SEED) -o $@

$(METHODS:%=$(RUNS)/%/teacher.0.st.zst): %/teacher.0.st.zst: %/student.0.st.zst
	$(LAUNCH) $(INIT) --from $< -o $@

# Each step of the chain has one checkpoint as its prerequisite. With two, student and teacher, make would follow every
# path through the past. Their number doubles with each chunk, and 60 chunks would keep make busy for ever.
#
# $(call chunk,METHOD,FROM:TO:COUNT): one command makes student, teacher and log. dbisl-train-step renames the student
# last, so a student always has a teacher of the same step; when the teacher was lost, both are made again. Equal inputs
# give equal bytes, so the rest of an interrupted attempt and the next attempt fit together.
before = $(if $(filter 0,$(2)),$(or $(call teacher,$(1),0),$(call student,$(1),0)),$(call student,$(1),$(2)))
torn = $(if $(wildcard $(RUNS)/$(1)/log.tsv),,$(if $(wildcard $(call student,$(1),$(2))),$(if $(call has_teacher,$(1)),$(if $(wildcard $(call teacher,$(1),$(2))),,force))))
define chunk
$(call student,$(1),$(call to,$(2))) $(call teacher,$(1),$(call to,$(2))) $(call log,$(1),$(call to,$(2))) &: \
    $(PREPARED)/split.tsv $(call before,$(1),$(call from,$(2))) $(call settings,train-$(1)) $(call torn,$(1),$(call to,$(2)))
	$$(strip $(feed) $(call stepping,$(1)) --steps $(call count,$(2)) $(if $(call has_teacher,$(1)),--ema $(DECAY)) \
	    --student $(call student,$(1),$(call from,$(2))) $(call teacher,$(1),$(call from,$(2)),--teacher ) \
	    --out-student $(call student,$(1),$(call to,$(2))) $(call teacher,$(1),$(call to,$(2)),--out-teacher ) \
	    --log $(call log,$(1),$(call to,$(2))))
endef

# The same with a process of its own for the teacher's average. It is for chunks of one step, because nothing moves the
# teacher within a chunk. Here the teacher is made last.
define chunk_then_ema
$(call student,$(1),$(call to,$(2))) $(call log,$(1),$(call to,$(2))) &: $(PREPARED)/split.tsv $(call teacher,$(1),$(call from,$(2))) $(call settings,train-$(1))
	$$(strip $(feed) $(call stepping,$(1)) --steps $(call count,$(2)) \
	    --student $(call student,$(1),$(call from,$(2))) $(call teacher,$(1),$(call from,$(2)),--teacher ) \
	    --out-student $(call student,$(1),$(call to,$(2))) --log $(call log,$(1),$(call to,$(2))))

$(call teacher,$(1),$(call to,$(2))): $(call student,$(1),$(call to,$(2)))
	$$(LAUNCH) $$(EMA) --decay $(DECAY) $(call teacher,$(1),$(call from,$(2))) $$^ -o $$@
endef

# $(call method,METHOD)
define method
$(call stage,train-$(1),Method $(1): $(STEPS) steps$(comma) each on $(BATCH_LABELED) labelled and $(call batch_unlabeled,$(1)) unlabelled crops$(if $(last),$(comma) the last $(last_steps) on $(LAST_BATCH_LABELED) and $(call last_unlabeled,$(1)) others).,\
    $(SAMPLE) $(call sampling,$(1))$(if $(last), then from $(last_from) $(call sampling_last,$(1))) | $(TRAIN_STEP) $(call stepping,$(1)) $(if $(call has_teacher,$(1)),$(EMA) $(DECAY)))
$(foreach c,$(chunks),$(nl)$(call $(if $(and $(STEPWISE),$(call has_teacher,$(1))),chunk_then_ema,chunk),$(1),$(c))$(nl))

$(RUNS)/$(1)/log.tsv: $(foreach p,$(points),$(call log,$(1),$(p)))
	awk 'FNR > 1 || NR == 1' $$^ >$$@.part && mv $$@.part $$@$(if $(dry),, && rm -f $$^ $(call checkpoints,$(1),$(passing)))
endef
$(foreach m,$(METHODS),$(eval $(call method,$(m))))

.SECONDARY: $(foreach m,$(METHODS),$(call checkpoints,$(m),$(points)) $(foreach p,$(points),$(call log,$(m),$(p))))

# --- results ----------------------------------------------------------------------------------------------------------

pairs = $(foreach id,$(SCORED_IDS),$(RUNS)/$(1)/predictions/$(id).st.zst $(PREPARED)/cases/$(id).st.zst)

# $(call results,METHOD)
define results
$(TEST_IDS:%=$(RUNS)/$(1)/predictions/%.st.zst): $(RUNS)/$(1)/predictions/%.st.zst: $(call student,$(1),$(STEPS)) $(PREPARED)/cases/%.st.zst $(call settings,predict)
	$$(LAUNCH) $$(PREDICT) $$(PREDICT_FLAGS)$$(on_device) $$(wordlist 1,2,$$^) -o $$@

$(RUNS)/$(1)/metrics.tsv: $(SCORED_IDS:%=$(RUNS)/$(1)/predictions/%.st.zst) $(SCORED_IDS:%=$(PREPARED)/cases/%.st.zst) $(call settings,metrics)
	$$(LAUNCH) $$(METRICS) $$(METRICS_FLAGS) $(call pairs,$(1)) -o $$@

$(RUNS)/$(1)/metrics.largest.tsv: $(RUNS)/$(1)/metrics.tsv
	$$(LAUNCH) $$(METRICS) $$(METRICS_FLAGS) --largest $(call pairs,$(1)) -o $$@

$(TEST_IDS:%=$(RUNS)/$(1)/nifti/%.nii.gz): $(RUNS)/$(1)/nifti/%.nii.gz: $(RUNS)/$(1)/predictions/%.st.zst $(call settings,restore)
	$$(LAUNCH) $$(RESTORE) $$(RESTORE_FLAGS) $$< -o $$@
endef
$(eval $(call stage,predict,Each student segments the $(words $(TEST_IDS)) test scans.,$(PREDICT) $(PREDICT_FLAGS)$(on_device)))
$(eval $(call stage,metrics,Predictions are scored against the labels.,$(METRICS) $(METRICS_FLAGS) $(SCORED_IDS)))
$(eval $(call stage,restore,Segmentations go back into the scans' own grids.,$(RESTORE) $(RESTORE_FLAGS)))
$(foreach m,$(METHODS),$(eval $(call results,$(m))))

$(eval $(call stage,table,All methods in one table.,$(TABLE) $(METHODS)))
$(RUNS)/table.txt: $(METHODS:%=$(RUNS)/%/metrics.tsv) $(call settings,table)
	$(TABLE) $(METHODS:%=$(RUNS)/%/metrics.tsv) >$@.part && mv $@.part $@

.PHONY: cases train scores table nifti describe
cases: $(training) $(testing) $(PREPARED)/split.tsv
train: $(foreach m,$(METHODS),$(call student,$(m),$(STEPS)) $(call teacher,$(m),$(STEPS)) $(RUNS)/$(m)/log.tsv)
unscored := $(if $(TEST_IDS),none of the $(words $(TEST_IDS)) test scans has a label,there are no test scans)
$(if $(SCORED_IDS),,$(if $(filter scores,$(MAKECMDGOALS)),$(error there is nothing to score: $(unscored))))
# Scores of the labels as predicted, and of the largest component of each class.
scores: $(METHODS:%=$(RUNS)/%/log.tsv) $(METHODS:%=$(RUNS)/%/metrics.tsv) $(METHODS:%=$(RUNS)/%/metrics.largest.tsv)
table: $(METHODS:%=$(RUNS)/%/log.tsv) $(foreach m,$(METHODS),$(TEST_IDS:%=$(RUNS)/$(m)/predictions/%.st.zst)) $(if $(SCORED_IDS),$(RUNS)/table.txt)
	$(if $(SCORED_IDS),@cat $(RUNS)/table.txt,@echo 'There is nothing to score: $(unscored).')
nifti: $(foreach m,$(METHODS),$(TEST_IDS:%=$(RUNS)/$(m)/nifti/%.nii.gz))

# All that the scores depend on, except the scans and the versions of the programs: the settings of the stages, and
# those of the training as dbisl-train-step reports them, without the formula, which follows from the weights. Folders
# are left out, so that equal settings on two machines give equal texts.
plain = $(foreach w,$(1),$(if $(filter-out /,$(filter /% ./% ../%,$(w))),$(notdir $(w)),$(w)))
understands := $(filter dbisl-train-step,$(notdir $(TRAIN_STEP)))
describe:
	@printf '%s\n' $(foreach s,$(filter $(preparing),$(stages)) init predict metrics,$(call quoted,$(s): $(call plain,$(settings_$(s)))))
	@$(foreach m,$(METHODS),printf '%s\n' $(call quoted,train: $(m): $(call plain,$(SAMPLE) $(call sampling,$(m))$(if $(last), then from $(last_from) $(call sampling_last,$(m))) | $(TRAIN_STEP) \
	    $(if $(understands),--seed $(SEED),$(call stepping,$(m))) $(if $(call has_teacher,$(m)),$(EMA) $(DECAY)))); \
	    $(if $(understands),$(TRAIN_STEP) $(call stepping,$(m)) --explain | sed '/^  "loss": /d';))
