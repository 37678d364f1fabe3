// What the QEMU port lacks: clocks, polling of the serial port, the FPU switched on, ROMFS and a disk in RAM.
#include "py/mphal.h"
#include "py/objarray.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "extmod/vfs.h"
#include "shared/runtime/pyexec.h"

// Memory that the firmware does not use: MPS2 has 16 MB of PSRAM, RV32's board 128 MB of RAM.
#if defined(__riscv)
#define SPARE 0x81000000
#define TICKS_PER_US 10
#else
#define SPARE 0x21000000
#define TICKS_PER_US 25
#endif
#define ROMFS_BYTES (12 << 20)
#define DISK (SPARE + ROMFS_BYTES)
#define DISK_BYTES (256 << 10)

// -- clocks: a counter of 32 bits, read often enough that it never wraps twice

#if defined(__riscv)

static uint32_t ticks(void) {
    uint32_t now;
    __asm volatile ("rdtime %0" : "=r" (now));
    return now;
}

static int rx_any(void) {
    return *(volatile uint8_t *)0x10000005 & 1; // the UART's line status: data ready
}

#else

static uint32_t ticks(void) { // CMSDK timer 0, which counts down
    volatile uint32_t *timer = (volatile uint32_t *)0x40000000;
    if (!(timer[0] & 1)) {
        timer[2] = timer[1] = 0xffffffff;
        timer[0] = 1;
    }
    return ~timer[1];
}

static int rx_any(void) {
    return *(volatile uint32_t *)0x40004004 >> 1 & 1; // the UART's state: receive buffer full
}

#endif

static uint64_t all_ticks(void) {
    static uint32_t last;
    static uint64_t sum;
    uint32_t now = ticks();
    sum += (uint32_t)(now - last);
    last = now;
    return sum;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return (mp_uint_t)all_ticks();
}

mp_uint_t mp_hal_ticks_us(void) {
    return (mp_uint_t)(all_ticks() / TICKS_PER_US);
}

mp_uint_t mp_hal_ticks_ms(void) {
    return (mp_uint_t)(all_ticks() / (TICKS_PER_US * 1000));
}

uint64_t mp_hal_time_ns(void) {
    return all_ticks() * (1000 / TICKS_PER_US);
}

void mp_hal_delay_us(mp_uint_t us) {
    mp_uint_t start = mp_hal_ticks_us();
    while (mp_hal_ticks_us() - start < us) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    mp_uint_t start = mp_hal_ticks_ms();
    while (mp_hal_ticks_ms() - start < ms) {
        mp_event_handle_nowait();
    }
}

// -- what the linker puts in place of the port's functions

uintptr_t __wrap_mp_hal_stdio_poll(uintptr_t flags) {
    return (flags & MP_STREAM_POLL_WR) | (rx_any() ? flags & MP_STREAM_POLL_RD : 0);
}

void __real_uart_init(void);
void __wrap_uart_init(void) {
    #if defined(__ARM_FP)
    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20; // coprocessor access: the FPU
    __asm volatile ("dsb\nisb");
    #endif
    __real_uart_init();
}

void __real_mp_init(void);
void __wrap_mp_init(void) {
    __real_mp_init();
    pyexec_frozen_module("_boot.py", false);
}

// -- memory as buffers

mp_obj_t mp_vfs_rom_ioctl(size_t n_args, const mp_obj_t *args) {
    switch (mp_obj_get_int(args[0])) {
        case MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS:
            return MP_OBJ_NEW_SMALL_INT(1);
        case MP_VFS_ROM_IOCTL_GET_SEGMENT:
            return mp_obj_new_bytearray_by_ref(ROMFS_BYTES, (void *)SPARE);
    }
    return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
}

static mp_obj_t qemu_disk(void) {
    return mp_obj_new_bytearray_by_ref(DISK_BYTES, (void *)DISK);
}
static MP_DEFINE_CONST_FUN_OBJ_0(qemu_disk_obj, qemu_disk);

static const mp_rom_map_elem_t globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__qemu) },
    { MP_ROM_QSTR(MP_QSTR_disk), MP_ROM_PTR(&qemu_disk_obj) },
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t qemu_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&globals,
};

MP_REGISTER_MODULE(MP_QSTR__qemu, qemu_module);
