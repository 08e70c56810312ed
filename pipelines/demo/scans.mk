# The scans of cohort.mk, by one command.
scans := $(foreach id,$(train_ids) $(TEST_IDS),$(call folder,images,$(id)) $(call folder,labels,$(id)))
$(eval $(call stage,phantom,$(words $(train_ids)) scans to train on and $(TEST) to test on are made.,$(PHANTOM) $(PHANTOM_FLAGS) $(PHANTOM_SEED) $(words $(train_ids)) $(TEST)))
$(scans) $(PREPARED)/scans/dataset.json &: $(call settings,phantom)
	$(strip $(LAUNCH) $(PHANTOM) $(PHANTOM_FLAGS) --train $(words $(train_ids)) --test $(TEST) --seed $(PHANTOM_SEED) -o $(PREPARED)/scans)
