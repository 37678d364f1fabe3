# QEMU's RV32 board, for cores such as the ESP32-C3's.
QEMU_ARCH = riscv32
QEMU_MACHINE = virt

CFLAGS += -DQEMU_SOC_VIRT -DMICROPY_HW_MCU_NAME='"RV32IMC"'
SRC_BOARD_O += shared/runtime/gchelper_native.o shared/runtime/gchelper_rv32i.o
MPY_CROSS_FLAGS += -march=rv32imc

LDSCRIPT = mcu/rv32/virt.ld
include $(BOARD_DIR)/../common.mk
