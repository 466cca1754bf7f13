// float16 and bfloat16 by CUDA's names: bits with conversions, computed in single precision and rounded once.
//
// Written apart from copy_weights/arithmetic.h, which is under test.
#pragma once

#include <cstdint>
#include <cstring>

#include "emulation/types.h"

struct __half {
  uint16_t bits;
};
struct __nv_bfloat16 {
  uint16_t bits;
};
using half = __half;
using nv_bfloat16 = __nv_bfloat16;

inline float __half2float(__half value) {
  _Float16 narrow;
  std::memcpy(&narrow, &value, sizeof narrow);
  return float(narrow);
}
inline __half __float2half_rn(float value) {
  const _Float16 narrow = static_cast<_Float16>(value);  // rounds to nearest, ties to even
  __half result;
  std::memcpy(&result, &narrow, sizeof result);
  return result;
}
inline float __bfloat162float(__nv_bfloat16 value) {
  const uint32_t wide = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &wide, sizeof result);
  return result;
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  uint32_t wide;
  std::memcpy(&wide, &value, sizeof wide);
  if (value != value) return {0x7fff};
  const bool rounds_up = (wide & 0x8000u) != 0 && ((wide & 0x7fffu) != 0 || (wide & 0x10000u) != 0);
  return {uint16_t((wide >> 16) + (rounds_up ? 1 : 0))};
}

// Everything else follows from these four.
#define SPNAS_HALVES(Name, Pair, widen, narrow, tag)                                                            \
  struct alignas(4) Pair {                                                                                      \
    Name x, y;                                                                                                  \
  };                                                                                                            \
  inline Pair make_##tag##2(Name x, Name y) { return {x, y}; }                                                  \
  inline Pair __halves2##tag##2(Name x, Name y) { return {x, y}; }                                              \
  inline Pair __floats2##tag##2_rn(float x, float y) { return {narrow(x), narrow(y)}; }                         \
  inline Pair __float2##tag##2_rn(float x) { return {narrow(x), narrow(x)}; }                                   \
  inline Pair __float22##tag##2_rn(float2 pair) { return {narrow(pair.x), narrow(pair.y)}; }                    \
  inline float2 __##tag##22float2(Pair pair) { return {widen(pair.x), widen(pair.y)}; }                         \
  inline Name __low2##tag(Pair pair) { return pair.x; }                                                         \
  inline Name __high2##tag(Pair pair) { return pair.y; }                                                        \
  inline float __low2float(Pair pair) { return widen(pair.x); }                                                 \
  inline float __high2float(Pair pair) { return widen(pair.y); }                                                \
  inline Name __float2##tag(float value) { return narrow(value); }                                              \
  inline uint16_t __##tag##_as_ushort(Name value) { return value.bits; }                                        \
  inline Name __ushort_as_##tag(uint16_t bits) { return {bits}; }                                               \
  inline Name operator+(Name a, Name b) { return narrow(widen(a) + widen(b)); }                                 \
  inline Name operator-(Name a, Name b) { return narrow(widen(a) - widen(b)); }                                 \
  inline Name operator*(Name a, Name b) { return narrow(widen(a) * widen(b)); }                                 \
  inline Name operator/(Name a, Name b) { return narrow(widen(a) / widen(b)); }                                 \
  inline Name operator-(Name a) { return {uint16_t(a.bits ^ 0x8000u)}; }                                        \
  inline Name& operator+=(Name& a, Name b) { return a = a + b; }                                                \
  inline bool operator==(Name a, Name b) { return widen(a) == widen(b); }                                       \
  inline bool operator<(Name a, Name b) { return widen(a) < widen(b); }                                         \
  inline bool operator>(Name a, Name b) { return widen(a) > widen(b); }                                         \
  inline Pair operator+(Pair a, Pair b) { return {a.x + b.x, a.y + b.y}; }                                      \
  inline Pair operator*(Pair a, Pair b) { return {a.x * b.x, a.y * b.y}; }                                      \
  inline Name __hadd(Name a, Name b) { return a + b; }                                                          \
  inline Name __hmul(Name a, Name b) { return a * b; }                                                          \
  inline Pair __hadd2(Pair a, Pair b) { return a + b; }                                                         \
  inline Pair __hmul2(Pair a, Pair b) { return a * b; }

SPNAS_HALVES(__half, __half2, __half2float, __float2half_rn, half)
SPNAS_HALVES(__nv_bfloat16, __nv_bfloat162, __bfloat162float, __float2bfloat16_rn, bfloat16)
#undef SPNAS_HALVES
using half2 = __half2;
using nv_bfloat162 = __nv_bfloat162;
