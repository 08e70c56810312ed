# The files of a scan: NAME.nii.gz or, with CHANNELS=2 and more, NAME_0000.nii.gz, NAME_0001.nii.gz, ..., as in nnU-Net.
CHANNELS ?= 1
suffixes := $(if $(filter-out 1,$(CHANNELS)),$(shell seq -f '_%04g' 0 $$(($(CHANNELS) - 1))))
suffix_of_scan := $(firstword $(suffixes))
further_suffixes := $(wordlist 2,$(words $(suffixes)),$(suffixes))
