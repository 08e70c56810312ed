# dbisl: build, install, check. GNU make 4.3 or later. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

BUILD ?= build
PREFIX ?= /usr/local
CFLAGS ?= -O3 -g
WARNINGS ?= -Wall -Wextra -Wshadow -Wvla
PYTHON ?= /usr/bin/python3
PKG_CONFIG ?= pkg-config

packages := libzstd libarchive jansson libxxhash zlib hdf5
package_flags := $(shell $(PKG_CONFIG) --cflags $(packages) 2>/dev/null)
package_libs := $(shell $(PKG_CONFIG) --libs $(packages) 2>/dev/null)

# -fno-math-errno and -fno-trapping-math let square roots and comparisons become vector instructions; results stay those of IEEE arithmetic.
all_cflags := -std=gnu17 -fopenmp -fno-math-errno -fno-trapping-math $(WARNINGS) $(CFLAGS)
all_cppflags := -D_GNU_SOURCE -Ilib -Itools -I/usr/include/nifti $(package_flags) $(CPPFLAGS)
libs := -lnifti2 -lznz $(package_libs) -ldnnl -lm

lib_sources := $(sort $(wildcard lib/*/*.c))
real_sources := $(filter %.real.c,$(lib_sources))
plain_sources := $(filter-out %.real.c,$(lib_sources))
lib_objects := $(plain_sources:%.c=$(BUILD)/%.o) $(real_sources:%.real.c=$(BUILD)/%.f32.o) $(real_sources:%.real.c=$(BUILD)/%.f64.o)
library := $(BUILD)/libdbisl.a
tool_sources := $(filter-out tools/tool.c,$(sort $(wildcard tools/*.c)))
programs := $(tool_sources:tools/%.c=$(BUILD)/bin/dbisl-%)
unit_sources := $(sort $(wildcard tests/unit/test_*.c))
unit_tests := $(unit_sources:tests/unit/%.c=$(BUILD)/tests/%)

.PHONY: all
all: $(programs)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(all_cppflags) $(all_cflags) -MMD -MP -c $< -o $@

$(BUILD)/%.f32.o: %.real.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(all_cppflags) -DDBI_REAL_BITS=32 $(all_cflags) -MMD -MP -c $< -o $@

$(BUILD)/%.f64.o: %.real.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(all_cppflags) -DDBI_REAL_BITS=64 $(all_cflags) -MMD -MP -c $< -o $@

$(library): $(lib_objects)
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/bin/dbisl-%: $(BUILD)/tools/%.o $(BUILD)/tools/tool.o $(library)
	@mkdir -p $(@D)
	$(CC) $(all_cflags) $(LDFLAGS) $^ $(libs) -o $@

$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(library)
	@mkdir -p $(@D)
	$(CC) $(all_cflags) $(LDFLAGS) $^ $(libs) -lcmocka -o $@

.PRECIOUS: $(BUILD)/%.o
.PHONY: units
units: $(unit_tests)

# Rewritten only when the compiler or its flags change, so that a change of flags rebuilds everything and nothing else does.
.PHONY: force
$(BUILD)/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' '$(CC) $(all_cppflags) $(all_cflags) $(LDFLAGS) $(libs)' | cmp -s - $@ || printf '%s\n' '$(CC) $(all_cppflags) $(all_cflags) $(LDFLAGS) $(libs)' > $@

.PHONY: clean
clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
