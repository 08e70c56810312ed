# dbisl: build, install, check. GNU make 4.3 or later; `make help` lists the targets, `./setup.sh TARGET` installs what
# they need first.
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

# -fno-math-errno and -fno-trapping-math let square roots and comparisons become vector instructions; results stay those
# of IEEE arithmetic.
all_cflags := -std=gnu17 -fopenmp -Werror=implicit-function-declaration -Werror=int-conversion -fno-math-errno -fno-trapping-math $(WARNINGS) $(CFLAGS)
all_cppflags := -D_GNU_SOURCE -Ilib -Itools -Itests/unit -Itests/emulated -I/usr/include/nifti $(package_flags) $(CPPFLAGS)
# Not among the flags whose change rebuilds everything: the folder of the build may be named in several ways.
f64_includes = -I$(BUILD)/f64/lib -I$(BUILD)/f64/tests/unit
cuda_libs = $(if $(cuda),-L$(CUDA_HOME)/lib64 -L$(CUDA_HOME)/lib -lcudart_static -ldl -lrt -lpthread)
libs = -lnifti2 -lznz $(package_libs) -ldnnl $(cuda_libs) -lm
# The last architecture is embedded as PTX too.
nvcc_flags = -std=c++17 $(NVCCFLAGS) $(foreach arch,$(CUDA_ARCH),-gencode arch=compute_$(arch),code=sm_$(arch)) \
    -gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH)) -Xcompiler -Wall,-Wextra,-fno-exceptions,-fno-threadsafe-statics -Ilib \
    $(patsubst cudnn=%,-I%,$(filter cudnn=%,$(cuda))) $(patsubst library=%,-DDBI_CUDNN_FOLDER=\"%\",$(filter library=/%,$(cuda)))

# CUDA is used if nvcc and the headers of cuDNN 9 are found. CUDA=0 builds without it; CUDA_HOME and CUDNN_ROOT say
# where they are, CUDA_ARCH for which GPUs to build (the last one also as PTX, which drivers translate for newer GPUs).
# cuDNN is loaded at run time: programs start without it and without a GPU.
CUDA ?= auto
CUDA_HOME ?= $(or $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v nvcc 2>/dev/null))),/usr/local/cuda)
CUDA_ARCH ?= 80 90
NVCC ?= $(CUDA_HOME)/bin/nvcc
NVCCFLAGS ?= -O3
cuda := $(if $(filter 0 no off,$(CUDA)),,$(shell CC='$(CC)' CXX='$(CXX)' NVCC='$(NVCC)' CUDA_HOME='$(CUDA_HOME)' CUDNN_ROOT='$(CUDNN_ROOT)' CACHE='$(BUILD)/cuda' scripts/find-cuda))

all_sources := $(sort $(wildcard lib/*/*.c))
lib_sources := $(if $(cuda),$(all_sources),$(filter-out lib/cuda/%,$(all_sources)))
cuda_sources := $(sort $(wildcard lib/cuda/*.cu))
real_sources := $(filter %.real.c,$(lib_sources))
f64_headers := $(patsubst %.real.h,$(BUILD)/f64/%.f64.h,$(wildcard lib/*/*.real.h tests/unit/*.real.h))
lib_objects := $(lib_sources:%.c=$(BUILD)/%.o) $(real_sources:%.real.c=$(BUILD)/%.f64.o) \
    $(if $(cuda),$(cuda_sources:%.cu=$(BUILD)/%.cu.o))
# The sources of the CUDA device, except the calls of CUDA itself, compiled for the host: the unit tests of the device
# run them. Kernels for tensor cores are templates, so they are compiled as C++, with a header that stands in for CUDA's
# own.
warp_sources := lib/cuda/spread.cu lib/cuda/tiled.cu
warp_flags = -std=c++17 -fno-exceptions -fno-rtti -D__CUDACC__ -Itests/emulated/toolkit -include cuda_runtime.h $(all_cppflags) $(WARNINGS) -Wno-unknown-pragmas $(CFLAGS)
emulated_sources := $(filter-out lib/cuda/runtime.cu lib/cuda/cudnn.cu,$(cuda_sources))
emulated := $(emulated_sources:%.cu=$(BUILD)/emulated/%.o) $(patsubst %.c,$(BUILD)/%.o,$(filter lib/cuda/%,$(all_sources))) $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/emulated/*.c)))
library := $(BUILD)/libdbisl.a
tool_sources := $(filter-out tools/tool.c tools/files.c tools/devices.c tools/sampling.c tools/dbisl.c,$(sort $(wildcard tools/*.c)))
shared := $(BUILD)/tools/tool.o $(BUILD)/tools/files.o $(BUILD)/tools/devices.o
programs := $(BUILD)/bin/dbisl $(tool_sources:tools/%.c=$(BUILD)/bin/dbisl-%)
unit_sources := $(sort $(wildcard tests/unit/test_*.c))
unit_tests := $(unit_sources:tests/unit/%.c=$(BUILD)/tests/%)
# Tests of kernels that are linked a second time, with the CUDA objects, to run on a GPU.
gpu_tests := $(if $(cuda),$(addprefix $(BUILD)/gpu/test_cuda_,conv distance interpolation loss net slide trainer))
bench_sources := $(sort $(wildcard tests/bench/bench_*.c))
bench_programs := $(bench_sources:tests/bench/%.c=$(BUILD)/tests/%)

# A short line for each file; V=1 shows the commands.
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $(2);)

.PHONY: all
all: $(programs) ## build the programs into $(BUILD)/bin (the default)

$(BUILD)/%.o: %.c $(BUILD)/flags | $(BUILD)/libraries $(f64_headers)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(all_cppflags) $(f64_includes) $(all_cflags) -MMD -MP -c $< -o $@

# Double precision is made from the sources for single precision.
$(BUILD)/f64/%.f64.h: %.real.h scripts/double-precision
	@mkdir -p $(@D)
	@scripts/double-precision $< > $@

$(BUILD)/f64/%.f64.c: %.real.c scripts/double-precision
	@mkdir -p $(@D)
	@scripts/double-precision $< > $@

$(BUILD)/%.f64.o: $(BUILD)/f64/%.f64.c $(BUILD)/flags | $(BUILD)/libraries $(f64_headers)
	@mkdir -p $(@D)
	$(call say,CC,'$*.real.c (double)')$(CC) $(all_cppflags) $(f64_includes) $(all_cflags) -MMD -MP -c $< -o $@

$(BUILD)/%.cu.o: %.cu $(BUILD)/flags | $(BUILD)/libraries
	@mkdir -p $(@D)
	$(call say,NVCC,$<)$(NVCC) $(nvcc_flags) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

$(warp_sources:%.cu=$(BUILD)/emulated/%.o): $(BUILD)/emulated/%.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX,'$< (host)')$(CXX) $(warp_flags) -MMD -MP -x c++ -c $< -o $@

$(filter-out $(warp_sources:%.cu=$(BUILD)/emulated/%.o),$(emulated_sources:%.cu=$(BUILD)/emulated/%.o)): $(BUILD)/emulated/%.o: %.cu $(BUILD)/flags | $(BUILD)/libraries
	@mkdir -p $(@D)
	$(call say,CC,'$< (host)')$(CC) $(all_cppflags) $(f64_includes) $(all_cflags) -MMD -MP -x c -c $< -o $@

$(library): $(lib_objects)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tools/devices.o: all_cppflags += $(if $(cuda),-DDBI_WITH_CUDA)

$(BUILD)/bin/dbisl-%: $(BUILD)/tools/%.o $(shared) $(library)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(all_cflags) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(libs) -o $@

# Sources that only some programs need.
sampling := dbisl-sample dbisl-train-step
$(sampling:%=$(BUILD)/bin/%): $(BUILD)/tools/sampling.o

$(BUILD)/bin/dbisl: $(BUILD)/tools/dbisl.o
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(all_cflags) $(LDFLAGS) $^ -o $@

$(gpu_tests:=.o): $(BUILD)/gpu/%.o: tests/unit/%.c $(BUILD)/flags | $(BUILD)/libraries
	@mkdir -p $(@D)
	$(call say,CC,'$< (GPU)')$(CC) $(all_cppflags) $(f64_includes) -DDBI_ON_DEVICE -isystem $(CUDA_HOME)/include $(all_cflags) -MMD -MP -c $< -o $@

$(gpu_tests): $(BUILD)/gpu/test_%: $(BUILD)/gpu/test_%.o $(BUILD)/tests/unit/on_gpu.o $(BUILD)/tests/emulated/conv.o $(library)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(all_cflags) $(LDFLAGS) $^ $(libs) -lcmocka -o $@

$(filter $(BUILD)/tests/test_cuda_%,$(unit_tests)): $(BUILD)/tests/test_cuda_%: $(BUILD)/tests/unit/test_cuda_%.o $(emulated) $(library)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(all_cflags) $(LDFLAGS) $^ $(libs) -lcmocka -o $@

$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(library)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(all_cflags) $(LDFLAGS) $^ $(libs) -lcmocka -o $@

$(BUILD)/tests/bench_gpu: $(BUILD)/tools/devices.o

$(BUILD)/tests/bench_%: $(BUILD)/tests/bench/bench_%.o $(library)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(all_cflags) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(libs) -o $@

.PRECIOUS: $(BUILD)/%.o $(BUILD)/f64/%.f64.c $(BUILD)/f64/%.f64.h
.PHONY: units
units: $(unit_tests) $(bench_programs) $(gpu_tests)

# Written anew only when the compiler or its flags change: then everything is rebuilt, and otherwise nothing.
.PHONY: force
flags_line = '$(CXX) $(warp_flags)' '$(CC) $(all_cppflags) $(all_cflags) $(LDFLAGS) $(libs)' $(if $(cuda),'$(NVCC) $(nvcc_flags)')
$(BUILD)/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' $(flags_line) | cmp -s - $@ || printf '%s\n' $(flags_line) > $@

# A missing library gets one clear message instead of a page of the compiler's.
$(BUILD)/libraries: scripts/check-libraries $(BUILD)/flags
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' scripts/check-libraries $(all_cppflags) -- $(package_libs)
	@touch $@

# --- install ----------------------------------------------------------------------------------------------------------

bin_dir := $(DESTDIR)$(PREFIX)/bin
man_dir := $(DESTDIR)$(PREFIX)/share/man
share_dir := $(DESTDIR)$(PREFIX)/share/dbisl
man_pages := $(sort $(wildcard man/*.[1-9]))
pipeline_files := $(sort $(wildcard pipelines/*.mk pipelines/*.awk pipelines/*/Makefile pipelines/*/*.mk pipelines/*/*.awk))
example_files := $(sort $(wildcard examples/*))

.PHONY: install
install: all ## install programs, manual pages and pipelines (PREFIX, DESTDIR)
	install -d $(bin_dir)
	install -m 755 $(programs) $(bin_dir)
	for page in $(man_pages); do install -D -m 644 "$$page" "$(man_dir)/man$${page##*.}/$${page##*/}"; done
	for file in $(pipeline_files); do install -D -m 644 "$$file" "$(share_dir)/$$file"; done
	for file in $(example_files); do install -D -m 755 "$$file" "$(share_dir)/$$file"; done

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f $(programs:$(BUILD)/bin/%=$(bin_dir)/%) $(foreach page,$(man_pages),$(man_dir)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
	rm -rf $(share_dir)

# --- tests ------------------------------------------------------------------------------------------------------------

bats_files := $(sort $(wildcard tests/*.bats))
full_files := $(sort $(wildcard tests/full/*.bats))

.PHONY: check
check: all units ## run the unit tests and the tool tests; ends with "N passed, N failed"
	@scripts/check-layers '$(BUILD)'
	@BIN='$(BUILD)/bin' PYTHON='$(PYTHON)' LOGS='$(BUILD)/logs' tests/run $(unit_tests) $(bats_files)

.PHONY: check-full
check-full: all units ## the same and the long tests (ten kills of the demo, memory of a large scan, ...; more than an hour)
	@BIN='$(BUILD)/bin' PYTHON='$(PYTHON)' LOGS='$(BUILD)/logs' LIMIT=7200 tests/run $(unit_tests) $(bats_files) $(full_files)

gpu_bats := $(sort $(wildcard tests/gpu/*.bats))

# SANITIZER: run the programs under this tool of NVIDIA's compute-sanitizer: memcheck, racecheck, synccheck or
# initcheck.
.PHONY: check-gpu
check-gpu: all $(gpu_tests) ## tests on a GPU: parity with reference and CPU, equal runs, the demo (SANITIZER=memcheck|racecheck|...: watched); skipped without one
	@BIN='$(BUILD)/bin' PYTHON='$(PYTHON)' LOGS='$(BUILD)/logs-gpu' CUDA_HOME='$(CUDA_HOME)' SANITIZER='$(SANITIZER)' scripts/check-gpu $(gpu_tests) $(gpu_bats)

# TORCH: a Python with PyTorch 2, which is timed too; without it our programs alone are timed.
.PHONY: bench-gpu
bench-gpu: all $(if $(cuda),$(BUILD)/tests/bench_gpu) ## time a training step and a scan on a GPU, beside PyTorch (TORCH=PYTHON); skipped where there is none
	@BIN='$(BUILD)/bin' BENCH='$(BUILD)/tests/bench_gpu' TORCH='$(TORCH)' scripts/bench-gpu

# The programs are linked again, so that they find the libraries beside them (an RPATH, because it also holds for the
# libraries' own libraries).
bundle := $(BUILD)/gpu-bundle
bundled := $(patsubst $(BUILD)/bin/%,$(bundle)/bin/%,$(programs)) $(gpu_tests:$(BUILD)/gpu/%=$(bundle)/bin/%) $(bundle)/bin/bench_gpu
bundle_link = @mkdir -p $(@D); $(if $(V),,printf '  %-4s %s\n' LINK $@;) $(CC) $(all_cflags) $(LDFLAGS) -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib' $(filter %.o,$^) $(filter %.a,$^)

$(bundle)/bin/dbisl: $(BUILD)/tools/dbisl.o
	$(bundle_link) -o $@

$(patsubst $(BUILD)/bin/%,$(bundle)/bin/%,$(filter-out %/dbisl,$(programs))): $(bundle)/bin/dbisl-%: $(BUILD)/tools/%.o $(shared) $(library)
	$(bundle_link) $(libs) -o $@

$(sampling:%=$(bundle)/bin/%): $(BUILD)/tools/sampling.o

$(gpu_tests:$(BUILD)/gpu/%=$(bundle)/bin/%): $(bundle)/bin/test_%: $(BUILD)/gpu/test_%.o $(BUILD)/tests/unit/on_gpu.o $(BUILD)/tests/emulated/conv.o $(library)
	$(bundle_link) $(libs) -lcmocka -o $@

$(bundle)/bin/bench_gpu: $(BUILD)/tests/bench/bench_gpu.o $(BUILD)/tools/devices.o $(library)
	$(bundle_link) $(libs) -o $@

# CASES: a folder of cases to add; CUDNN=0: leave cuDNN out.
.PHONY: gpu-bundle
gpu-bundle: $(if $(cuda),$(bundled)) ## programs and their libraries in $(BUILD)/gpu-bundle, for a machine with nothing but a GPU's driver (CASES=DIR)
	@$(if $(cuda),CASES='$(CASES)' CUDNN='$(CUDNN)' scripts/gpu-bundle $(bundle) '$(patsubst library=%,%,$(filter library=%,$(cuda)))' $(bundled),\
	    echo "gpu-bundle: this build has no CUDA: $$(cat $(BUILD)/cuda/why 2>/dev/null || echo CUDA=$(CUDA))" >&2; exit 1)

.PHONY: check-asan
check-asan: ## check with AddressSanitizer and UndefinedBehaviorSanitizer, built in $(BUILD)/asan
	SANITIZED=1 ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 $(MAKE) BUILD='$(BUILD)/asan' \
	    CFLAGS='-O2 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined' check

# tests/bench/README.md says what is compared and which variables there are (TORCH_PYTHON, LA_SCAN, CHECKPOINT, ...).
# AVX2=1: everything, PyTorch too, runs as on a machine without AVX-512, built in $(BUILD)/avx2.
.PHONY: bench bench-quick
ifneq ($(AVX2),)
bench bench-quick:
	+@ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(MAKE) --no-print-directory AVX2= CUDA=0 BUILD='$(BUILD)/avx2' \
	    CFLAGS='$(CFLAGS) -march=x86-64-v3' CPPFLAGS='$(CPPFLAGS) -DDBI_NO_CLONES' $@
else
bench: all $(bench_programs) ## time our programs and PyTorch, scipy, h5py in turns and print the table; minutes
	@BUILD='$(BUILD)' PYTHON='$(PYTHON)' CC='$(CC)' tests/bench/run

bench-quick: $(BUILD)/tests/bench_quick ## has a kernel become slower? Ratios to a loop beside it; ends with "N passed, N failed"
	@$(BUILD)/tests/bench_quick tests/bench/quick.tsv
endif

# --- style ------------------------------------------------------------------------------------------------------------

c_files := $(sort $(wildcard lib/*/*.[ch] lib/*/*.cu tools/*.[ch] tests/emulated/*.[ch] tests/emulated/*/*.h tests/emulated/*/*/*.h tests/*.c tests/unit/*.[ch] tests/bench/*.[ch]))
shell_files := setup.sh .ci/run tests/run tests/helper.bash tests/bench/run $(sort $(wildcard scripts/* examples/*.sh))

.PHONY: lint
lint: all ## clang-format, cppcheck, shellcheck, mandoc, the layers, and that --help and the manual pages agree
	clang-format --dry-run -Werror $(c_files)
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr --suppressions-list=.cppcheck --enable=warning,portability -D_GNU_SOURCE \
	    -Ilib -Itools -I$(BUILD)/f64/lib $(filter %.c,$(c_files))
	shellcheck $(shell_files)
	shellcheck --severity=warning --exclude=SC2154 $(bats_files) $(full_files) $(gpu_bats) # variables that bats sets
	mandoc -T lint -W warning $(man_pages)
	scripts/check-options '$(BUILD)/bin' man
	scripts/check-layers '$(BUILD)'

# --- pipelines --------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: all ## a synthetic cohort, supervised and dbisl trained on 4 labelled scans, both tables (RUNS=DIR)
	@$(MAKE) --no-print-directory -f pipelines/demo/Makefile

.PHONY: la
la: all ## the left atrium at half resolution: make la DATA=DIR (see pipelines/la/Makefile)
	@$(MAKE) --no-print-directory -f pipelines/la/Makefile

.PHONY: ablation
ablation: all ## methods x variants x seeds x numbers of labels in one table: make ablation DATA=DIR RUNS=DIR (see dbisl-pipelines(7))
	@$(MAKE) --no-print-directory -f pipelines/ablation/Makefile

.PHONY: transforms
transforms: all ## how close the transforms from segmentation to distance come to the exact one: make transforms [DATA=DIR] (see pipelines/transforms)
	@$(MAKE) --no-print-directory -f pipelines/transforms/Makefile

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
