SRC_USERMOD_C += $(USERMOD_DIR)/support.c
