# The left atrium at half resolution: means of 2x2x2 voxels. One core trains it in well under an hour. The HDF5 files
# are normalized already and have no spacing.
PREPROCESS_FLAGS ?= --source-spacing 0.625 --downsample 2 --normalize none
PATCH ?= 64,64,32
FILTERS ?= 8
STEPS ?= 1500
CHUNK ?= 100
TRAIN_FLAGS ?= --lr 0.01 --momentum 0.9 --weight-decay 1e-4 --schedule at:70% --ramp 60%
PREDICT_FLAGS ?= --window $(PATCH) --stride 32,32,16 --weights uniform
METRICS_FLAGS ?= --unit voxel
