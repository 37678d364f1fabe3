// A Raspberry Pi Pico whose flash is shared out so that packages can be read in place:
// 640 KB firmware, 704 KB ROMFS from 640 KB on, 704 KB littlefs from 1344 KB on.
#define MICROPY_HW_BOARD_NAME "Raspberry Pi Pico (trimtab)"
#define MICROPY_HW_FLASH_STORAGE_BYTES (704 * 1024)
#define MICROPY_HW_ROMFS_BYTES (704 * 1024)
