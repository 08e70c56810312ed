# The left atrium at full resolution with the settings that are common in its literature: 6000 steps, patches of
# 112x112x80, a tenth of the rate every 2500 steps, and a sliding window with small strides. It takes days on two cores.
PREPROCESS_FLAGS ?= --source-spacing 0.625 --normalize none
PATCH ?= 112,112,80
FILTERS ?= 16
STEPS ?= 6000
CHUNK ?= 100
KEEP ?= 1000
TRAIN_FLAGS ?= --lr 0.01 --momentum 0.9 --weight-decay 1e-4 --schedule every:2500
PREDICT_FLAGS ?= --window $(PATCH) --stride 18,18,4 --weights uniform
METRICS_FLAGS ?= --unit voxel
