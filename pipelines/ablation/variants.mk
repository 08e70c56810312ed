# Variants of a method: VARIANT_NAME holds options of train-step, VARIABLES_NAME variables of the pipeline as one would
# write them on make's command line. A study adds its own in a file (STUDY=FILE) or on the command line.

# dbisl without one of its four components. Without pseudo-labels nothing asks for a teacher.
VARIANT_no-cross ?= --without cross
VARIANT_no-consistency ?= --without consistency
VARIANT_no-pseudo ?= --without pseudo
VARIABLES_no-pseudo ?= METHODS_WITH_TEACHER=
VARIANT_no-uncertainty ?= --without uncertainty

# Without the transform from segmentation to distance, in all terms that have it; without the other one.
VARIANT_no-s2r ?= --weight cross-reg=0 --weight consistency-reg=0 --weight pseudo-cross-reg=0
VARIANT_no-r2s ?= --weight cross-seg=0 --weight consistency-seg=0 --weight pseudo-cross-seg=0
# With the paper's transform.
VARIANT_conv ?= --transform conv:0.35,10
# The two heads without any term between them.
VARIANT_uncoupled ?= --without cross --without consistency --weight pseudo-cross-seg=0 --weight pseudo-cross-reg=0

COMPONENTS_OFF := no-cross no-consistency no-pseudo no-uncertainty
