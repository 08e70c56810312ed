# The scans of cohort.mk, by one command.
scans := $(foreach id,$(train_ids) $(TEST_IDS),$(call scan,$(id)) $(call further,$(id)) $(call folder,labels,$(id)))
phantom_kind := $(addprefix --classes ,$(filter-out 1,$(CLASSES))) $(addprefix --channels ,$(filter-out 1,$(CHANNELS)))
$(eval $(call stage,phantom,$(words $(train_ids)) scans to train on and $(TEST) to test on are made.,$(PHANTOM) $(PHANTOM_FLAGS) $(phantom_kind) $(PHANTOM_SEED) $(words $(train_ids)) $(TEST)))
# make checks each scan by itself. When one is missing, all must be made, before anything is made of those that are
# there.
lost := $(filter-out $(wildcard $(scans) $(PREPARED)/scans/dataset.json),$(scans) $(PREPARED)/scans/dataset.json)
$(scans) $(PREPARED)/scans/dataset.json &: $(call settings,phantom) $(if $(lost),force)
	$(strip $(LAUNCH) $(PHANTOM) $(PHANTOM_FLAGS) $(phantom_kind) --train $(words $(train_ids)) --test $(TEST) --seed $(PHANTOM_SEED) -o $(PREPARED)/scans)
