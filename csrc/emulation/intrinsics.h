// CUDA's functions of one thread: bits, rounding, caches, and atomics, which now and then let other threads go first.
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "emulation/half.h"
#include "emulation/machine.h"
#include "emulation/races.h"
#include "emulation/types.h"

// As CUDA's overloads: mixed types meet in the common one, and a NaN loses.
template <typename A, typename B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return T(a) != T(a) || T(b) < T(a) ? T(b) : T(a);
  return T(b) < T(a) ? T(b) : T(a);
}
template <typename A, typename B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return T(a) != T(a) || T(a) < T(b) ? T(b) : T(a);
  return T(a) < T(b) ? T(b) : T(a);
}

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }
inline float rsqrtf(float a) { return 1.0f / sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

namespace spnas::emulation {

// As the device converts: what does not fit becomes the nearest that does, and a NaN zero.
template <typename To, typename From>
To saturated(From value) {
  if (value != value) return 0;
  if (value <= From(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (value >= From(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return To(value);
}

}  // namespace spnas::emulation

inline int __float2int_rd(float a) { return spnas::emulation::saturated<int>(floorf(a)); }
inline int __float2int_ru(float a) { return spnas::emulation::saturated<int>(ceilf(a)); }
inline int __float2int_rn(float a) { return spnas::emulation::saturated<int>(rintf(a)); }
inline int __float2int_rz(float a) { return spnas::emulation::saturated<int>(truncf(a)); }
inline unsigned __float2uint_rz(float a) { return spnas::emulation::saturated<unsigned>(truncf(a)); }
inline float __int2float_rn(int a) { return float(a); }
inline float __uint2float_rn(unsigned a) { return float(a); }

inline int __float_as_int(float a) { return std::bit_cast<int>(a); }
inline unsigned __float_as_uint(float a) { return std::bit_cast<unsigned>(a); }
inline float __int_as_float(int a) { return std::bit_cast<float>(a); }
inline float __uint_as_float(unsigned a) { return std::bit_cast<float>(a); }
inline long long __double_as_longlong(double a) { return std::bit_cast<long long>(a); }
inline double __longlong_as_double(long long a) { return std::bit_cast<double>(a); }

inline int __popc(unsigned a) { return std::popcount(a); }
inline int __popcll(unsigned long long a) { return std::popcount(a); }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline int __ffsll(long long a) { return __builtin_ffsll(a); }
inline int __clz(int a) { return std::countl_zero(unsigned(a)); }
inline int __clzll(long long a) { return std::countl_zero(static_cast<unsigned long long>(a)); }
inline unsigned long long __brevll(unsigned long long a) {
  unsigned long long reversed = 0;
  for (int bit = 0; bit < 64; ++bit) reversed |= (a >> bit & 1) << (63 - bit);
  return reversed;
}
inline unsigned __brev(unsigned a) { return unsigned(__brevll(a) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned(((uint64_t(high) << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = uint64_t(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned choice = selector >> (4 * i) & 15;
    const unsigned byte = unsigned(bytes >> (8 * (choice & 7))) & 255;
    result |= (choice & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
  }
  return result;
}

// Loads and stores that say what the caches shall keep.
#define SPNAS_LOAD(name)          \
  template <typename T>           \
  T name(const T* address) {      \
    return *address;              \
  }
SPNAS_LOAD(__ldg)
SPNAS_LOAD(__ldca)
SPNAS_LOAD(__ldcg)
SPNAS_LOAD(__ldcs)
SPNAS_LOAD(__ldcv)
SPNAS_LOAD(__ldlu)
#undef SPNAS_LOAD
#define SPNAS_STORE(name)                                      \
  template <typename T>                                        \
  void name(T* address, std::type_identity_t<T> value) {       \
    *address = value;                                          \
  }
SPNAS_STORE(__stcg)
SPNAS_STORE(__stcs)
SPNAS_STORE(__stwb)
SPNAS_STORE(__stwt)
#undef SPNAS_STORE

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { spnas::emulation::give_way(); }
[[noreturn]] inline void __trap() { spnas::emulation::fail("thread %d trapped", spnas::emulation::thread_number()); }
inline long long clock64() { return 0; }

// Asynchronous copies from global to shared memory (cuda_pipeline.h).
inline void __pipeline_memcpy_async(void* shared, const void* global, size_t size, size_t zeros = 0) {
  const bool fits = size == 4 || size == 8 || size == 16;
  if (!fits || zeros > size || (reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % size != 0) {
    spnas::emulation::fail("thread %d copies %zu bytes asynchronously: 4, 8 or 16 are possible, aligned to as many",
                           spnas::emulation::thread_number(), size);
  }
  spnas::emulation::copy_later(shared, global, size, zeros);
}
inline void __pipeline_commit() { spnas::emulation::commit_copies(); }
inline void __pipeline_wait_prior(size_t batches) { spnas::emulation::wait_for_copies(batches); }

#define SPNAS_UNTOLD __attribute__((no_sanitize("thread")))

namespace spnas::emulation {

inline void begin_atomic(const void* address, size_t size) {
  give_way();
  note_access(address, size, true, true, __builtin_return_address(0));
}

inline float2 sum_of(float2 a, float2 b) { return {a.x + b.x, a.y + b.y}; }
inline float4 sum_of(float4 a, float4 b) { return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w}; }
template <typename T>
T sum_of(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));  // wraps
  } else {
    return a + b;
  }
}

}  // namespace spnas::emulation

// The detector of races hears of atomics from here and not from the compiler.
#define SPNAS_ATOMIC(name, expression)                                \
  template <typename T>                                               \
  SPNAS_UNTOLD T atomic##name(T* address, std::type_identity_t<T> value) { \
    spnas::emulation::begin_atomic(address, sizeof(T));               \
    const T old = *address;                                           \
    *address = expression;                                            \
    return old;                                                       \
  }                                                                   \
  template <typename T>                                               \
  T atomic##name##_block(T* address, std::type_identity_t<T> value) { \
    return atomic##name(address, value);                              \
  }
SPNAS_ATOMIC(Add, spnas::emulation::sum_of(old, value))
SPNAS_ATOMIC(Sub, spnas::emulation::sum_of(old, T(0 - value)))
SPNAS_ATOMIC(Exch, value)
SPNAS_ATOMIC(Min, (value < old ? value : old))
SPNAS_ATOMIC(Max, (old < value ? value : old))
SPNAS_ATOMIC(And, old& value)
SPNAS_ATOMIC(Or, old | value)
SPNAS_ATOMIC(Xor, old ^ value)
SPNAS_ATOMIC(Inc, (old >= value ? T(0) : T(old + 1)))
SPNAS_ATOMIC(Dec, (old == 0 || old > value ? value : T(old - 1)))
#undef SPNAS_ATOMIC
template <typename T>
SPNAS_UNTOLD T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  spnas::emulation::begin_atomic(address, sizeof(T));
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
#undef SPNAS_UNTOLD
