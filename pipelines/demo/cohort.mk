# A cohort of synthetic scans, made here: the data of the demo and of the stepwise run.
include $(here)/channels.mk
PHANTOM ?= dbisl-phantom
PHANTOM_SEED ?= 1
LABELED ?= 4
UNLABELED ?= 16
TEST ?= 8
RUNS ?= runs/$(NAME)

ids = $(if $(filter-out 0,$(1)),$(shell seq -f '$(2)%03g' $(1)))
train_ids := $(call ids,$(shell echo $$(($(LABELED) + $(UNLABELED)))),phantom_)
LABELED_IDS := $(wordlist 1,$(LABELED),$(train_ids))
UNLABELED_IDS := $(filter-out $(LABELED_IDS),$(train_ids))
TEST_IDS := $(call ids,$(TEST),phantom_test_)
folder = $(PREPARED)/scans/$(1)$(if $(findstring _test_,$(2)),Ts,Tr)/$(2)$(3).nii.gz
scan = $(call folder,images,$(1),$(suffix_of_scan))
further = $(foreach s,$(further_suffixes),$(call folder,images,$(1),$(s)))
label = $(call folder,labels,$(1))
