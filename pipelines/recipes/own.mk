# Where to start with your own data: the usual network, on patches that a workstation trains in a day. Set the spacing
# (in mm; as it is here, each scan keeps its own) to that of most scans, and the patch to a size that shows enough of
# the surroundings; its sides are multiples of 16.
PREPROCESS_FLAGS ?= --normalize zscore
PATCH ?= 96,96,64
FILTERS ?= 16
STEPS ?= 6000
CHUNK ?= 100
KEEP ?= 1000
METRICS_FLAGS ?= --unit mm
