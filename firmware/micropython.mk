# The kernels as a user C module: make USER_C_MODULES=<the folder above firmware/>
TRIMTAB_DIR := $(USERMOD_DIR)
SRC_USERMOD_C += $(sort $(wildcard $(TRIMTAB_DIR)/kernels/*.c $(TRIMTAB_DIR)/kernels/packed/*.c))
SRC_USERMOD += $(sort $(wildcard $(TRIMTAB_DIR)/kernels/packed/*/*.S))
