# Names of files and folders are written into make's rules and into commands without quotes. So names with characters
# that are special to make or the shell are refused here, before any command.
blank := $() $()
hash := \#
# Characters that are special to make or the shell. An id is also a word of commands and a part of file names: it may
# have no slash, and no tilde, which a shell replaces by the home folder.
odd_in_paths := $$ ' " ; & | < > ( ) * ? [ ] { } ` \ ! % : = $(hash)
odd_in_ids := $(odd_in_paths) ~ /
# $(call odd,CHARACTERS,TEXT): those of the characters that the text has.
odd = $(strip $(foreach c,$(1),$(findstring $(c),$(2))))
cannot_take = $(error pipelines cannot take this name: $(1); rename it)

# $(call check_path,VARIABLE): checks that the variable is empty or names one file or folder.
check_path = $(if $(or $(word 2,$($(1))),$(if $(strip $($(1))),$(findstring $(blank),$($(1))))),$(error $(1)=$($(1)): blanks are not possible there; \
    rename it, or make a link without blanks to it))$(if $(call odd,$(odd_in_paths),$($(1)))$(filter -%,$($(1))),$(call cannot_take,$(1)=$($(1))))
# $(call check_paths,NAMES), $(call check_ids,IDS): the same for several.
check_names = $(if $(call odd,$(1),$(2)),$(foreach n,$(2),$(if $(call odd,$(1),$(n)),$(call cannot_take,$(n)))))
check_paths = $(call check_names,$(odd_in_paths),$(1))
check_ids = $(call check_names,$(odd_in_ids),$(1))

# $(call twice,IDS): the ids that occur more than once.
twice = $(if $(filter-out $(words $(1)),$(words $(sort $(1)))),$(foreach n,$(sort $(1)),$(if $(word 2,$(filter $(n),$(1))),$(n))))
