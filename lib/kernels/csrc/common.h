/* Helpers of all kernels: dispatch on the CPU's vector width, exact float arithmetic.
 *
 * The loops are plain C that the compiler vectorises. With GCC on x86-64 Linux, each
 * function marked VECTORISED is compiled three times, and the loader selects the version
 * for the machine. Other platforms use the compiler's baseline (NEON on aarch64).
 */
#ifndef FASTER_RCNN_COMMON_H
#define FASTER_RCNN_COMMON_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORISED
#endif

#define INLINE static inline __attribute__((always_inline))

/* Maximum and minimum of two numbers in one instruction; if `a` is NaN, `b`. */
INLINE float larger(float a, float b) { return a > b ? a : b; }
INLINE float smaller(float a, float b) { return a < b ? a : b; }

INLINE float quotient(float a, float b) { return b > 0.0f ? a / b : 0.0f; }

INLINE int32_t bits_of(float v) {
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

INLINE float from_bits(int32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* bfloat16 and float16 in memory, float32 in registers. */
INLINE float from_bf16(uint16_t v) {
    return from_bits((int32_t)((uint32_t)v << 16));
}

INLINE uint16_t to_bf16(float v) {
    uint32_t bits = (uint32_t)bits_of(v);
    /* Round to nearest, ties to even; NaN stays NaN. */
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)(v != v ? (bits >> 16) | 0x40u : rounded);
}

#ifdef __FLT16_MANT_DIG__
typedef _Float16 half;
#define HAS_FLOAT16 1
INLINE float from_half(half v) { return (float)v; }
INLINE half to_half(float v) { return (half)v; }
#else /* never called: callers check HAS_FLOAT16 */
typedef uint16_t half;
#define HAS_FLOAT16 0
INLINE float from_half(half v) { return (float)v; }
INLINE half to_half(float v) { return (half)v; }
#endif

#endif
