# SPDX-License-Identifier: GPL-2.0
# "make help" tells what can be made. All output goes to build/.

B := build
# Debian's kernel series that the module is built for and tested on.
KERNELS := 6.1 6.12
# The one that tests and "make run" take where only one is taken.
KERNEL ?= 6.1
KERNEL_TIMEOUT ?= 2700
POWER_TIMEOUT ?= 6000
E2E_TIMEOUT ?= 3600

CC := gcc
CFLAGS ?= -O2 -g
# Ops tables and callbacks have parameters that not everybody uses.
warnings := -Wall -Wextra -Wno-unused-parameter -Werror

# A line for each file made; V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $@)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all kmod vmmd guests selftests image run bench clean distclean help
.PHONY: check check-svm check-vmx check-full check-unit check-lab check-kernel check-e2e
.PHONY: check-power check-refused check-boot check-snapshot check-soak check-moves
.PHONY: check-hotplug check-promise check-gap check-hosts parity unit debug mini
.PHONY: bench-baseline bench-readme

all: kmod vmmd guests selftests unit

# Inside the emulated host everything is built already.
in_lab := $(wildcard /run/lab/job.sh)

# Missing packages are installed before anything else happens.
ifneq ($(filter-out clean distclean help,$(or $(MAKECMDGOALS),all)),)
ifeq ($(in_lab),)
ignored := $(shell scripts/deps)
ifneq ($(.SHELLSTATUS),0)
$(error scripts/deps failed)
endif
endif
endif

# ---- kmod: build/kmod-SERIES/vmm.ko; with DEBUG=1 build/kmod-debug-SERIES/vmm.ko
#
# The kernel's build system puts objects beside the sources: give it a mirror
# of links per kernel. It tracks dependencies itself, so it is always called,
# unless all is BUILT: two of it at a time would be in each other's way.

kmod_dir := $(B)/kmod$(if $(DEBUG),-debug)
modules := $(KERNELS:%=$(kmod_dir)-%/vmm.ko)
compat_probes := $(wildcard kmod/compat/*.c)

kmod: $(modules)

$(KERNELS:%=$(B)/kernel/%/release): $(B)/kernel/%/release:
	scripts/kernel $*

$(KERNELS:%=$(kmod_dir)-%/compat_config.h): $(kmod_dir)-%/compat_config.h: \
		$(B)/kernel/%/release $(compat_probes) scripts/compat-probe
	@mkdir -p $(@D)
	$(call say,PROBE)
	+@scripts/compat-probe $(CURDIR)/$(B)/kernel/$*/headers >$@

.PHONY: FORCE
$(modules): $(kmod_dir)-%/vmm.ko: $(kmod_dir)-%/compat_config.h $(if $(BUILT),,FORCE)
	@cd $(@D) && for f in $$(cd $(CURDIR) && find Kbuild kmod include -name '[!.]*' -type f); do \
		mkdir -p $$(dirname $$f) && ln -sfn $(CURDIR)/$$f $$f || exit; \
	done && find . -xtype l -delete
	+@$(MAKE) --no-print-directory -C $(B)/kernel/$*/headers M=$(CURDIR)/$(@D) \
		CONFIG_DEBUG_INFO_BTF_MODULES= $(if $(DEBUG),DEBUG=y) modules

# ---- vmmd: build/vmmd/vmmd

vmmd_sources := $(sort $(wildcard vmmd/*.c vmmd/*/*.c))
vmmd_objects := $(vmmd_sources:%.c=$(B)/%.o)
# ACPI tables: vmmd/DIR/NAME.asl becomes the C array of "DIR/NAME.hex".
vmmd_tables := $(patsubst %.asl,$(B)/%.hex,$(wildcard vmmd/*.asl vmmd/*/*.asl))
# No pkg-config: Zydis has no file for it, and slirp's wants all of GLib's headers.
vmmd_cflags = -std=gnu11 $(CFLAGS) $(warnings) -pthread -Iinclude/uapi -iquote vmmd -iquote $(B)/vmmd \
	-isystem /usr/include/slirp
# Those that Debian has as archives: each shared library is a tenth of a restore.
vmmd_libs = -lZydis -Wl,-Bstatic -ljansson -luring -lzstd -Wl,-Bdynamic -pthread

vmmd: $(if $(vmmd_sources),$(B)/vmmd/vmmd)

$(B)/vmmd/vmmd: $(vmmd_objects)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(vmmd_libs)

$(vmmd_objects): $(B)/%.o: %.c | $(vmmd_tables)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(vmmd_cflags) -MMD -MP -c -o $@ $<

$(B)/vmmd/%.hex: vmmd/%.asl
	@mkdir -p $(@D)
	$(call say,IASL)
	$(Q)iasl -vs -tc -p $(basename $@) $<

# ---- unit tests: build/unit/test_NAME, with all of vmmd, under the sanitizers

unit_sources := $(sort $(wildcard selftests/unit/test_*.c))
unit_tests := $(unit_sources:selftests/unit/%.c=$(B)/unit/%)
unit_objects := $(patsubst %.c,$(B)/unit/%.o,$(filter-out vmmd/main.c,$(vmmd_sources)) \
	$(filter-out $(unit_sources),$(wildcard selftests/unit/*.c)))
sanitizers := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
unit_cflags = $(vmmd_cflags) -O1 $(sanitizers)

unit: $(unit_tests)

$(B)/unit/%.o: %.c | $(vmmd_tables)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(unit_cflags) -MMD -MP -c -o $@ $<

# kshim/ plays the kernel for tests that include the module's sources.
$(B)/unit/selftests/%: unit_cflags += -iquote selftests/unit -iquote kmod \
	-I selftests/unit/kshim

# An archive: a test may bring functions of its own in the place of a file's.
$(B)/unit/vmmd.a: $(unit_objects)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(unit_tests): $(B)/unit/%: $(B)/unit/selftests/unit/%.o $(B)/unit/vmmd.a
	$(call say,LD)
	$(Q)$(CC) $(sanitizers) $(unit_ldflags) -o $@ $^ $(vmmd_libs) -lcmocka

# These bring some of a file's functions; the first definition counts.
$(addprefix $(B)/unit/test_,vcpu snapshot_save state_golden state_fuzz migrate_vm): \
	unit_ldflags = -Wl,--allow-multiple-definition
# These record what is called, or play a file system that can more.
$(B)/unit/test_block_copy: unit_ldflags = -Wl,--wrap=ioctl
$(B)/unit/test_virtio_blk: unit_ldflags = -Wl,--wrap=block_submit
$(B)/unit/test_overlay_crash: unit_ldflags = -Wl,--wrap=pwritev,--wrap=fallocate,--wrap=fdatasync

# ---- kernel selftests: build/selftests/NAME_test, and what they share

selftest_sources := $(sort $(wildcard selftests/kernel/*_test.c))
selftest_tests := $(selftest_sources:selftests/kernel/%.c=$(B)/selftests/%)
selftest_objects := $(patsubst selftests/kernel/%.c,$(B)/selftests/%.o,\
	$(filter-out $(selftest_sources),$(wildcard selftests/kernel/*.c)))
selftest_cflags = -std=gnu11 $(CFLAGS) $(warnings) -pthread \
	-Iinclude/uapi -Iselftests/kernel -isystem $(B)/include

selftests: $(selftest_tests)

$(B)/include/kselftest_harness.h:
	scripts/kselftest-headers $(@D)

$(B)/selftests/%.o: selftests/kernel/%.c | $(B)/include/kselftest_harness.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(selftest_cflags) -MMD -MP -c -o $@ $<

# This one runs where the files have gone.
$(B)/selftests/power_test: selftest_ldflags = -static

$(selftest_tests): %: %.o $(selftest_objects)
	$(call say,LD)
	$(Q)$(CC) $(selftest_ldflags) -o $@ $^ -pthread

# Both ends of check-gap's connections: executed in guests and in the host alike.
$(B)/selftests/stream: selftests/e2e/stream.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -std=gnu11 $(CFLAGS) $(warnings) -static -o $@ $<

# ---- guests

-include guests/bare/Makefile

# The Debian guest; its script knows whether it is up to date.
image:
	guests/debian/build $(B)/disk.img

# ---- running and testing

run: kmod vmmd image
	scripts/run

# The virtualization of the emulated host's CPU: svm, vmx or vmx-pml.
CPU ?= svm
# Those of the guest in check-boot.
CPUS ?= 1
# How often it is done in check-moves.
MOVES ?= 50
# And in check-promise, where time is exact and the emulator slow.
PROMISES ?= 100
# And in check-gap, likewise.
GAPS ?= 50

# What each lane consists of. VT-x's emulator is slow: one kernel has all of it,
# the other what enters and leaves guests; two CPUs what needs two; one lane is
# without what the CPU does for interrupts, one on a CPU that has more; and a guest
# boots, but does not work.
lane_svm := $(KERNELS:%='check-kernel KERNEL=%') \
	'check-kernel KERNEL=6.1 DEBUG=1 TESTS="memory dirty guests"' \
	$(KERNELS:%='check-kernel KERNEL=% NODES=2 TESTS="memory_numa memory_race dirty_race"') \
	$(KERNELS:%='check-power KERNEL=%') \
	'check-refused CPU=none' 'check-hosts QUICK=1' check-e2e 'check-gap GAPS=1'
lane_vmx := 'check-kernel CPU=vmx KERNEL=6.1' \
	'check-kernel CPU=vmx KERNEL=6.12 TESTS="guests exits roundtrip"' \
	'check-kernel CPU=vmx SMP=2 TESTS="hotplug host pv"' \
	'check-kernel CPU=vmx KERNEL=6.1 TESTS="intr" PARAMS="virt_intr=0"' \
	'check-kernel CPU=vmx-pml TESTS="abi dirty dirty_race features guests"' \
	'check-refused CPU=vmx-off' 'check-snapshot CPU=vmx' 'check-boot CPU=vmx'

# With DEBUG=1 the module itself sees the flush or the tag that no emulator misses.
debug: kmod
	+@$(MAKE) --no-print-directory kmod KERNELS=6.1 DEBUG=1

check: all debug image
	+@MAKE='$(MAKE) BUILT=1' scripts/check check-unit check-lab $(lane_svm) -- $(lane_vmx)

check-svm: all debug image
	+@MAKE='$(MAKE) BUILT=1' scripts/check $(lane_svm)

check-vmx: all image
	+@MAKE='$(MAKE) BUILT=1' scripts/check $(lane_vmx)

# And what takes too long for every day.
check-full: all debug image
	+@MAKE='$(MAKE) BUILT=1' scripts/check check-unit check-lab $(lane_svm) -- \
		check-hosts 'check-hosts FIRST=6.12 SECOND=6.1' 'check-hosts MINUS=' \
		check-soak check-moves 'check-promise PROMISES=20' 'check-gap KERNEL=6.12' \
		$(KERNELS:%='check-hotplug KERNEL=%') \
		'check-lab CPU=vmx' $(lane_vmx) 'check-power CPU=vmx' \
		'check-kernel CPU=vmx NODES=2 TESTS="memory_numa"' \
		'check-boot CPU=vmx CPUS=2 SMP=2' 'check-boot CPU=vmx FULL=1'

# The README's table of both vendors, from what the last "make check" found.
parity:
	@scripts/parity --svm $(B)/kernel-svm-6.1/tap.log \
		--vmx $(B)/kernel-vmx-6.1/tap.log --vmx $(B)/kernel-vmx-6.1-some/tap.log \
		--newer $(B)/kernel-vmx-pml-6.1-some/tap.log

# How long one of them tries what is not written in any test.
FUZZ_SECONDS ?= 60

check-unit: $(unit_tests)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/run-selftests $^ scripts/bench.d/selftest

check-lab:
	@scripts/run-selftests "scripts/lab.d/selftest $(CPU)"

# These two run in the emulated host; called elsewhere, they start it first.
ifneq ($(in_lab),)
series := $(shell uname -r | cut -d. -f1,2)
module = $(kmod_dir)-$(series)/vmm.ko

# "insmod" is insmod_test, "hotplug" what of it is about CPUs that come and go,
# "dirty_modes" dirty_test and dirty_race_test again. A lab that suspends has
# power_test, see check-power, one with two nodes memory_numa_test.
TESTS ?= insmod dirty_modes \
	$(patsubst $(B)/selftests/%_test,%,$(filter-out %/power_test %/memory_numa_test,$(selftest_tests)))

check-kernel:
	@scripts/run-selftests --module "$(module) $(PARAMS)" --log $$OUT/tap.log \
		$(if $(filter insmod,$(TESTS)),"selftests/kernel/insmod_test.py $(module)") \
		$(if $(filter hotplug,$(TESTS)),"selftests/kernel/insmod_test.py $(module) cpus") \
		$(if $(filter dirty_modes,$(TESTS)),"selftests/kernel/dirty_modes $(module) \
			$(B)/selftests/dirty_test $(B)/selftests/dirty_race_test") \
		$(patsubst %,$(B)/selftests/%_test,$(filter-out insmod hotplug dirty_modes,\
			$(TESTS)))

check-e2e:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH scripts/run-selftests --module $(module) \
		--timeout $(E2E_TIMEOUT) "selftests/e2e/cli.py --work $$(mktemp -d)" \
		"selftests/e2e/direct.py --kernel $(B)/kernel/$(series)/vmlinuz --work $$(mktemp -d)" \
		"selftests/e2e/control.py --kernel $(B)/kernel/$(series)/vmlinuz --work $$(mktemp -d)" \
		"selftests/e2e/net.py --kernel $(B)/kernel/$(series) --work $$(mktemp -d)" \
		"selftests/e2e/migrate.py --kernel $(B)/kernel/$(series)/vmlinuz --work $$(mktemp -d)" \
		"selftests/e2e/migrate_disk.py --kernel $(B)/kernel/$(series)/vmlinuz \
			--modules $(B)/kernel/$(series) --work $$(mktemp -d)" \
		"selftests/e2e/boot.py --image $(B)/disk.img --work $$OUT" \
		"selftests/e2e/boot.py --image $(B)/disk.img --work $$OUT/packed --quick --overlay \
			--cpus 2 --tap --options '--ring packed --balloon 128M'" \
		"selftests/e2e/smp.py --image $(B)/disk.img --work $$OUT/smp" \
		"selftests/e2e/snapshot.py --kernel $(B)/kernel/$(series)/vmlinuz \
			--modules $(B)/kernel/$(series) --work $$(mktemp -d)"

# A part of that, for VT-x.
check-snapshot:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH VMM_TIMEOUT_SCALE=10 scripts/run-selftests \
		--module $(module) --timeout 20000 "selftests/e2e/snapshot.py --quick \
		--kernel $(wildcard $(B)/kernel/$(series)/boot/vmlinuz-*) \
		--modules $(B)/kernel/$(series) --work $$(mktemp -d)" \
		"selftests/e2e/migrate.py --quick --only-moves --moves 2 \
		--kernel $(wildcard $(B)/kernel/$(series)/boot/vmlinuz-*) --work $$(mktemp -d)"

# Many guests at once, for ten minutes of the lab's.
SOAK ?= --guests 16 --seconds 600
check-soak:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH scripts/run-selftests --module $(module) --timeout 7200 \
		"selftests/e2e/soak.py $(SOAK) --kernel $(B)/kernel/$(series)/vmlinuz --work $$(mktemp -d)"

# Two guests on two CPUs, one of which goes and comes, for some minutes.
check-hotplug:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH scripts/run-selftests --module $(module) --timeout 3600 \
		"selftests/e2e/hotplug.py --kernel $(B)/kernel/$(series)/vmlinuz --work $$OUT"

# Again and again: moved, moved with a disk, saved and restored and cloned; and all of
# that while a Debian boots.
check-moves:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH scripts/run-selftests --module $(module) --timeout 7200 \
		"selftests/e2e/migrate.py --moves $(MOVES) --only-moves \
			--kernel $(B)/kernel/$(series)/vmlinuz --work $$(mktemp -d)" \
		"selftests/e2e/migrate_disk.py --moves $(MOVES) --only-moves \
			--kernel $(B)/kernel/$(series)/vmlinuz \
			--modules $(B)/kernel/$(series) --work $$(mktemp -d)" \
		"selftests/e2e/snapshot.py --rounds $(MOVES) --kernel $(B)/kernel/$(series)/vmlinuz \
			--modules $(B)/kernel/$(series) --work $$(mktemp -d)" \
		"selftests/e2e/boot_moved.py --image $(B)/disk.img --rounds 9 --work $$(mktemp -d)"

# Moved again and again, and never standing still for longer than was promised.
check-promise:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH scripts/run-selftests --module $(module) --timeout 20000 \
		"selftests/e2e/promise.py --moves $(PROMISES) --load $(B)/bench/load \
			--kernel $(B)/kernel/$(series)/vmlinuz --work $$(mktemp -d)"

# What the network sees of a guest that is moved, saved and restored again and again.
check-gap:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH scripts/run-selftests --module $(module) --timeout 20000 \
		"selftests/e2e/gap.py --moves $(GAPS) --stream $(B)/selftests/stream \
			--kernel $(B)/kernel/$(series) --work $$(mktemp -d)"

check-boot:
	@PATH=$(CURDIR)/$(B)/vmmd:$$PATH VMM_TIMEOUT_SCALE=10 scripts/run-selftests \
		--module $(module) --timeout 20000 "selftests/e2e/boot.py --in-place \
		--image $(B)/disk.img --work $$OUT --cpus $(CPUS) $(if $(FULL),,--quick)"
else
# Two CPUs, but where that makes the emulator too slow.
smp_svm := 2
smp_vmx := 1
smp_vmx-pml := 1
SMP ?= $(smp_$(CPU))
lab = scripts/lab --cpu $(CPU) --kernel $(KERNEL) --smp $(SMP)

# A page of 1 GiB is set aside, which later is seldom to be had, and as much memory
# as the lab has without.
gigantic_svm := --mem 3072
gigantic_vmx := --mem 2304
gigantic_vmx-pml := --mem 2304
# NODES=2: its memory lies on two nodes, however little is left for the second (U).
gigantic = $(gigantic_$(CPU)) --append "hugepagesz=1G hugepages=1$(NODES:%= numa=fake=%U)"

check-kernel: $(kmod_dir)-$(KERNEL)/vmm.ko selftests guests
	$(lab) $(gigantic) --timeout $(KERNEL_TIMEOUT) \
		--out $(B)/kernel-$(CPU)-$(KERNEL)$(if $(TESTS),-some)$(if $(DEBUG),-debug)$(PARAMS:%=-%)$(NODES:%=-nodes) \
		-- make check-kernel DEBUG=$(DEBUG) $(if $(TESTS),TESTS="$(TESTS)") PARAMS="$(PARAMS)"

check-e2e: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd guests image
	$(lab) --timeout $(E2E_TIMEOUT) --out $(B)/e2e -- make check-e2e DEBUG=$(DEBUG)

check-soak: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd
	$(lab) --mem 4000 --timeout 7200 -- make check-soak DEBUG=$(DEBUG) SOAK="$(SOAK)"

check-hotplug: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd
	$(lab) --timeout 3600 --out $(B)/hotplug-$(KERNEL) -- make check-hotplug DEBUG=$(DEBUG)

check-moves: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd image
	$(lab) --mem 4000 --timeout 7200 -- make check-moves DEBUG=$(DEBUG) MOVES=$(MOVES)

check-promise: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd $(B)/bench/load
	scripts/lab --icount --kernel $(KERNEL) --timeout 20000 \
		-- make check-promise DEBUG=$(DEBUG) PROMISES=$(PROMISES)

check-gap: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd $(B)/selftests/stream
	scripts/lab --icount --kernel $(KERNEL) --timeout 20000 \
		-- make check-gap DEBUG=$(DEBUG) GAPS=$(GAPS)

# Of the kernel, what the labs that share no files do not have.
guest_files = $(wildcard $(addprefix $(B)/kernel/$(KERNEL)/,boot/vmlinuz-* release \
	$(addprefix lib/modules/*/,modules.* kernel/drivers/virtio \
		kernel/drivers/block/virtio_blk.ko*)))

check-snapshot: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd
	$(lab) --mem 1200 --bring /usr/bin/busybox --bring /usr/sbin/modprobe \
		$(guest_files:%=--bring %) \
		--timeout $(E2E_TIMEOUT) --out $(B)/snapshot -- make check-snapshot DEBUG=$(DEBUG)

# For the labs that share no files: the disk is theirs, what is written is forgotten.
check-boot: $(kmod_dir)-$(KERNEL)/vmm.ko vmmd image
	$(lab) --mem 1200 --disk $(B)/disk.img,ro --bring /usr/share/seabios \
		--timeout $(E2E_TIMEOUT) --out $(B)/boot$(if $(FULL),-full) \
		-- make check-boot DEBUG=$(DEBUG) FULL=$(FULL) CPUS=$(CPUS)
endif

# A guest moves between two hosts, of which the first is without some features. Of an
# emulator each: this starts them. QUICK=1 for a part, MINUS= for two that are alike.
FIRST ?= 6.1
SECOND ?= 6.12
MINUS ?= avx,avx2,f16c,fma,vaes,vpclmulqdq,smap,la57
check-hosts: kmod vmmd
	@scripts/run-selftests --timeout 3600 "selftests/e2e/hosts.py --first $(FIRST) \
		--second $(SECOND) $(MINUS:%=--minus %) $(if $(QUICK),--quick --moves 2) \
		--work $(B)/hosts-$(FIRST)-$(SECOND)$(if $(MINUS),-less)"

# insmod where there is no virtualization to be had.
check-refused: $(B)/kmod-$(KERNEL)/vmm.ko
	@scripts/run-selftests "selftests/e2e/refused $(KERNEL) $(CPU)"

# These start it themselves, and end it by what they test. Bochs does not sleep: its
# BIOS hangs at times when the second CPU wakes.
check-power: $(B)/kmod-$(KERNEL)/vmm.ko selftests guests
	@scripts/run-selftests --timeout $(POWER_TIMEOUT) \
		$(if $(filter svm,$(CPU)),"selftests/e2e/sleep $(KERNEL)") \
		"selftests/e2e/down.py --cpu $(CPU) $(KERNEL) $(WAYS)"

# ROWS="cpuid_exit ipi" for some of the figures.
bench: kmod vmmd image guests mini $(B)/bench/load $(B)/selftests/stream
	scripts/bench $(ROWS)

# What the next runs are compared with, and the README's table: from the last run.
bench-baseline bench-readme:
	scripts/bench --$(@:bench-%=%)

# The loads are executed in guests and in the emulated host alike.
$(B)/bench/load: scripts/bench.d/load.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -std=gnu11 $(CFLAGS) $(warnings) -static -o $@ $<

# The smallest Linux guest: a kernel and an initramfs.
mini:
	guests/debian/mini $(B)/mini

# Downloaded kernels and the disk image take time to make again: they stay.
clean:
	rm -rf $(addprefix $(B)/,$(filter-out kernel include disk.img% mini,$(notdir $(wildcard $(B)/*))))

distclean:
	rm -rf $(B)

help:
	@echo 'make              everything that follows, up to selftests'
	@echo '  kmod            vmm.ko for each of the kernels $(KERNELS); W=1, C=1, DEBUG=1'
	@echo '  vmmd            the monitor'
	@echo '  guests          bare-metal test guests'
	@echo '  unit selftests  the tests themselves'
	@echo 'make image        build/disk.img, a Debian guest'
	@echo 'make run          boot that guest on our hypervisor'
	@echo 'make check        all tests; of these:'
	@echo '  check-svm       those that run guests with SVM; check-vmx: with VT-x'
	@echo '  check-unit      without a kernel module, on this machine (FUZZ_SECONDS=600, with'
	@echo '                  FUZZ_SEED=N again, for damaged states and snapshots)'
	@echo '  check-lab       of the emulated host itself'
	@echo '  check-kernel    of the module, in the emulated host (KERNEL=6.12 for that one,'
	@echo '                  CPU=vmx for VT-x, TESTS="guests exits" for some of them,'
	@echo '                  PARAMS="virt_intr=0" for parameters of the module, NODES=2 for'
	@echo '                  a host with two nodes)'
	@echo '  check-power     the emulated host sleeps, or goes down, with guests running'
	@echo '                  (CPU=vmx: goes down; WAYS="reboot kexec" for some of the ways)'
	@echo '  check-refused   insmod where there is no virtualization (CPU=none, CPU=vmx-off)'
	@echo '  check-e2e       a Debian guest from boot to power off, in the emulated host'
	@echo '  check-snapshot  a part of that, on slow CPUs: a guest is saved, restored and'
	@echo '                  moved (CPU=vmx)'
	@echo '  check-soak      16 guests at once for ten minutes (SOAK="--guests 4 --seconds 60")'
	@echo '  check-hotplug   two guests with 4 CPUs, while a CPU of the host goes and comes'
	@echo '  check-moves     a guest moves, and is saved and restored, 50 times (MOVES=5)'
	@echo '  check-promise   100 times, idle and writing, each within its --downtime (PROMISES=5)'
	@echo '  check-gap       and what the network hears of it meanwhile: no gap over 50 ms (GAPS=5)'
	@echo '  check-hosts     a guest moves between two emulated hosts, of 6.1 and 6.12, one of'
	@echo '                  which lacks some features (FIRST=6.12, SECOND=6.1, MINUS=avx,smap,'
	@echo '                  QUICK=1 for a part)'
	@echo '  check-boot      a Debian guest from boot to login (with CPU=vmx; CPUS=2, SMP=2:'
	@echo '                  of the guest, of the host; FULL=1: all of check-e2e)'
	@echo 'make check-full   all that, and what takes long on the emulator with VT-x'
	@echo 'make bench        figures of this and of KVM with QEMU; ROWS="ipi timer" for some'
	@echo '  bench-baseline  the last ones are what the next are compared with'
	@echo '  bench-readme    and go into README.md; make parity: its table of both vendors'
	@echo '... V=1           show commands'
	@echo 'make clean        remove what was built; distclean: downloads and image too'

-include $(vmmd_objects:.o=.d) $(unit_objects:.o=.d) $(unit_sources:%.c=$(B)/unit/%.d) \
	$(selftest_tests:=.d) $(selftest_objects:.o=.d)
