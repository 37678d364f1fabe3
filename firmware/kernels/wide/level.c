// Which of the levels of toolchain/kernels.py this processor has: 0 base, 1 AVX2, 2 AVX512-VNNI. A library of its own, so
// that it runs everywhere.
int trimtab_level(void);

int trimtab_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma")) {
        return 2;
    }
    return __builtin_cpu_supports("avx2") ? 1 : 0;
#else
    return 0;
#endif
}
