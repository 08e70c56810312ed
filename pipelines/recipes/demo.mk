# The synthetic cohort of dbisl-phantom: sizes for two cores and a few minutes.
PHANTOM_FLAGS ?=
PREPROCESS_FLAGS ?= --normalize zscore
PATCH ?= 32,32,32
FILTERS ?= 8
STEPS ?= 600
CHUNK ?= 100
