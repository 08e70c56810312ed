# The comparison of README.md beside this file: the left atrium at half resolution, every method with the settings that
# did best on scans 49 to 64.
#   make ablation STUDY=pipelines/ablation/la-half.mk DATA=DIR RUNS=DIR
PIPELINE := la
RECIPE := la-half
# What the published figures stand on, as most public code has it.
NORM := batch
INIT_FLAGS := --init kaiming
METHODS := supervised mean-teacher dtc dbisl
LABELS := 8 16
SEEDS := 1 2 3
FLAGS_supervised :=
FLAGS_mean-teacher := --seg-loss dice+ce --lambda 1
FLAGS_ua-mt := --seg-loss dice+ce --lambda 1
FLAGS_dtc := --sdf-normalize clip:10 --k 40
FLAGS_dbisl := --dropout 0
VARIANTS := no-cross no-consistency no-pseudo no-uncertainty no-s2r conv
VARIANT_SEEDS := 1
VARIANT_LABELS := 8
# Trainings of twice as many steps: have the methods levelled off? (The schedules stretch with the number of steps.)
VARIABLES_3000-steps := STEPS=3000
FURTHER_CELLS := ua-mt.8.1 $(foreach s,1 2 3,$(METHODS:%=%+3000-steps.8.$(s)))
