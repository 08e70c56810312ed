# The folder DATA in the layout of the Medical Segmentation Decathlon, as pipelines/own and pipelines/transforms read
# it. Gives the names in each part, and of a name its files:
#   train_ids, test_ids      the scans in imagesTr and imagesTs
#   labels_Tr, labels_Ts     the names in labelsTr and labelsTs
#   scan, further, label     functions of a name: the scan's file, the files of its other channels, its label's file or
#                            nothing
# A name that it cannot interpret ends make here, before any command.
include $(here)/channels.mk

files = $(wildcard $(DATA)/$(1)/*.nii.gz $(DATA)/$(1)/*.nii)
bare = $(patsubst %.nii,%,$(patsubst %.nii.gz,%.nii,$(patsubst $(DATA)/$(1)/%,%,$(call files,$(1)))))

# A name with blanks becomes several words, and all but the first have no folder.
with_blanks = $(filter-out $(DATA)/$(1)/%.nii.gz $(DATA)/$(1)/%.nii,$(call files,$(1)))
both_forms = $(foreach n,$(firstword $(call twice,$(call bare,$(1)))),$(DATA)/$(1)/$(n).nii.gz and $(DATA)/$(1)/$(n).nii)
define check_folder
$(if $(call with_blanks,$(1)),$(error pipelines cannot take names with blanks: $(call with_blanks,$(1)) in $(DATA)/$(1); rename it))
$(foreach f,$(call files,$(1)),$(if $(call odd,$(odd_in_ids),$(notdir $(f))),$(call cannot_take,$(f))))
$(if $(call both_forms,$(1)),$(error $(call both_forms,$(1)): one scan twice; remove one of them))
endef
$(foreach f,imagesTr labelsTr imagesTs labelsTs,$(if $(strip $(call check_folder,$(f))),))

labels_Tr := $(sort $(call bare,labelsTr))
labels_Ts := $(sort $(call bare,labelsTs))
scan_files := $(call bare,imagesTr) $(call bare,imagesTs)
# nnU-Net writes NAME_0000.nii.gz for one channel, too.
ifeq ($(strip $(suffix_of_scan)$(filter-out %_0000,$(scan_files))$(filter %_0000,$(labels_Tr) $(labels_Ts))),)
suffix_of_scan := _0000
endif
train_ids := $(patsubst %$(suffix_of_scan),%,$(sort $(filter %$(suffix_of_scan),$(call bare,imagesTr))))
test_ids := $(patsubst %$(suffix_of_scan),%,$(sort $(filter %$(suffix_of_scan),$(call bare,imagesTs))))

part = $(if $(filter $(1),$(train_ids)),Tr,Ts)
file_of = $(or $(firstword $(wildcard $(1).nii.gz $(1).nii)),$(1).nii.gz)
scan = $(call file_of,$(DATA)/images$(call part,$(1))/$(1)$(suffix_of_scan))
further = $(foreach s,$(further_suffixes),$(call file_of,$(DATA)/images$(call part,$(1))/$(1)$(s)))
label = $(wildcard $(addprefix $(DATA)/labels$(call part,$(1))/$(1),.nii.gz .nii))

in_both := $(firstword $(filter $(train_ids),$(test_ids)))
$(if $(in_both),$(error $(call scan,$(in_both)) and $(call file_of,$(DATA)/imagesTs/$(in_both)$(suffix_of_scan)) have one name: which is meant would not be \
    clear; rename one, and its label))
orphan := $(firstword $(filter-out $(train_ids),$(labels_Tr)))
$(if $(orphan),$(error $(call file_of,$(DATA)/labelsTr/$(orphan)) has no scan: $(DATA)/imagesTr/$(orphan)$(suffix_of_scan).nii.gz is not there \
    (scans of several files NAME_0000.nii.gz, NAME_0001.nii.gz want CHANNELS=2)))

# Warns of what is left out.
other_files = $(filter-out %.nii.gz %.nii,$(wildcard $(DATA)/$(1)/*))
unread := $(foreach f,imagesTr labelsTr imagesTs labelsTs,$(call other_files,$(f))) \
    $(if $(suffix_of_scan),$(foreach n,$(filter-out $(addprefix %,$(or $(suffixes),$(suffix_of_scan))),$(scan_files)),$(wildcard $(DATA)/images*/$(n).nii*))) \
    $(foreach n,$(filter-out $(test_ids),$(labels_Ts)),$(call file_of,$(DATA)/labelsTs/$(n)))
$(if $(strip $(unread)),$(if $(filter describe,$(MAKECMDGOALS)),,$(warning left out, as no scan or label of the other scans: $(strip $(unread)))))
