# The synthetic cohort of dbisl-phantom, with sizes for two cores and a few minutes. Supervised training alone set its
# difficulty: all 20 labels suffice for a mean Dice above 0.90 in these few steps, and 4 do not. Few steps need a high
# rate that falls to 0, and all channels, so there is no dropout.
PHANTOM_FLAGS ?= --size 56 --neighbors 0.5 --variability 0.6
PREPROCESS_FLAGS ?= --normalize zscore
PATCH ?= 48,48,32
FILTERS ?= 8
STEPS ?= 800
CHUNK ?= 100
TRAIN_FLAGS ?= --lr 0.02 --dropout 0 --schedule poly
