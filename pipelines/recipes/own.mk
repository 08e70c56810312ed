# Where to start with data of one's own: the network of the literature on patches that a workstation trains in a day. Set the spacing (in mm, here left as
# each scan has it) to what most scans have, and the patch to what shows enough of the surroundings; its sides are multiples of 16.
PREPROCESS_FLAGS ?= --normalize zscore
PATCH ?= 96,96,64
FILTERS ?= 16
STEPS ?= 6000
CHUNK ?= 100
KEEP ?= 1000
METRICS_FLAGS ?= --unit mm
