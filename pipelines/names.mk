# Names of files and folders stand in make's rules and in commands as they are. What make or the shell would take for
# something else is refused here, by name and before any command: after that, no name needs quotes.
blank := $() $()
hash := \#
# Those that are special to make or the shell. An id stands alone in commands and in files' names: it has no slash, and
# no tilde, for which a shell puts the home folder.
odd_in_paths := $$ ' " ; & | < > ( ) * ? [ ] { } ` \ ! % : = $(hash)
odd_in_ids := $(odd_in_paths) ~ /
# $(call odd,CHARACTERS,TEXT): those of the characters that are in the text.
odd = $(strip $(foreach c,$(1),$(findstring $(c),$(2))))
cannot_take = $(error pipelines cannot take this name: $(1); rename it)

# $(call check_path,VARIABLE): the variable is empty or names one file or folder.
check_path = $(if $(or $(word 2,$($(1))),$(if $(strip $($(1))),$(findstring $(blank),$($(1))))),$(error $(1)=$($(1)): blanks are not possible there; \
    rename it, or make a link without blanks to it))$(if $(call odd,$(odd_in_paths),$($(1)))$(filter -%,$($(1))),$(call cannot_take,$(1)=$($(1))))
# $(call check_paths,NAMES), $(call check_ids,IDS)
check_names = $(if $(call odd,$(1),$(2)),$(foreach n,$(2),$(if $(call odd,$(1),$(n)),$(call cannot_take,$(n)))))
check_paths = $(call check_names,$(odd_in_paths),$(1))
check_ids = $(call check_names,$(odd_in_ids),$(1))

# $(call twice,IDS): those that are there more than once.
twice = $(if $(filter-out $(words $(1)),$(words $(sort $(1)))),$(foreach n,$(sort $(1)),$(if $(word 2,$(filter $(n),$(1))),$(n))))
