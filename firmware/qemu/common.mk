# What all boards on QEMU share. support.c replaces two functions of the port, so that its source stays as it is.
CFLAGS += '-DMP_CONFIGFILE="mpconfig_trimtab.h"' -I$(BOARD_DIR)/..
LDFLAGS += -Wl,--wrap=uart_init,--wrap=mp_hal_stdio_poll,--wrap=mp_init
USER_C_MODULES = $(BOARD_DIR)/..
FROZEN_MANIFEST = $(BOARD_DIR)/../manifest.py
MICROPY_VFS_LFS2 = 1
MICROPY_HEAP_SIZE = 262144
