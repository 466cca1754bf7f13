// Barriers and warp collectives by CUDA's names.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "emulation/machine.h"

#define SPNAS_HERE const ::spnas::emulation::Where& where = ::spnas::emulation::Where::current()

namespace spnas::emulation {

template <typename T>
T value_of(const Values& values, int lane) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kValueBytes);
  T value;
  std::memcpy(&value, values.of[lane].bytes, sizeof value);
  return value;
}

// What a shuffle gives: the value of `source`, which must be in the mask; the lane's own where `is_inside` is false.
template <typename T>
T shuffle(unsigned mask, const T& value, int source, bool is_inside, const char* what, const Where& where) {
  const Values& values = exchange(mask, &value, sizeof value, what, where);
  if (!is_inside) return value;
  if (!(mask >> source & 1)) {
    fail("%s at line %u: thread %d reads lane %d, which is not in the mask %08x", what, where.line(), thread_number(), source,
         mask);
  }
  return value_of<T>(values, source);
}

template <typename T, typename Combine>
T reduce(unsigned mask, T value, const char* what, const Where& where, const Combine& combine) {
  const Values& values = exchange(mask, &value, sizeof value, what, where);
  bool is_first = true;
  T result{};
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1)) continue;
    result = is_first ? value_of<T>(values, lane) : combine(result, value_of<T>(values, lane));
    is_first = false;
  }
  return result;
}

inline bool is_width(int width) { return width > 0 && width <= kLanes && (width & (width - 1)) == 0; }

}  // namespace spnas::emulation

inline void __syncthreads(SPNAS_HERE) { spnas::emulation::wait_for_block(where); }
inline int __syncthreads_count(int predicate, SPNAS_HERE) { return spnas::emulation::count_in_block(predicate != 0, where); }
inline int __syncthreads_or(int predicate, SPNAS_HERE) { return spnas::emulation::count_in_block(predicate != 0, where) != 0; }
inline int __syncthreads_and(int predicate, SPNAS_HERE) { return spnas::emulation::count_in_block(predicate == 0, where) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu, SPNAS_HERE) { spnas::emulation::exchange(mask, nullptr, 0, "__syncwarp", where); }

// One lane at a time runs here, and CUDA promises no more.
inline unsigned __activemask() { return 1u << spnas::emulation::lane_number(); }

inline unsigned __ballot_sync(unsigned mask, int predicate, SPNAS_HERE) {
  const unsigned bit = predicate != 0 ? 1u << spnas::emulation::lane_number() : 0u;
  return spnas::emulation::reduce(mask, bit, "__ballot_sync", where, [](unsigned a, unsigned b) { return a | b; });
}
inline int __any_sync(unsigned mask, int predicate, SPNAS_HERE) { return __ballot_sync(mask, predicate, where) != 0; }
inline int __all_sync(unsigned mask, int predicate, SPNAS_HERE) { return __ballot_sync(mask, predicate, where) == mask; }

template <typename T>
unsigned __match_any_sync(unsigned mask, T value, SPNAS_HERE) {
  const auto& values = spnas::emulation::exchange(mask, &value, sizeof value, "__match_any_sync", where);
  unsigned alike = 0;
  for (int lane = 0; lane < warpSize; ++lane) {
    if ((mask >> lane & 1) && std::memcmp(values.of[lane].bytes, &value, sizeof value) == 0) alike |= 1u << lane;
  }
  return alike;
}
template <typename T>
unsigned __match_all_sync(unsigned mask, T value, int* all, SPNAS_HERE) {
  *all = __match_any_sync(mask, value, where) == mask;
  return *all ? mask : 0;
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, SPNAS_HERE) {
  const int own = spnas::emulation::lane_number(), first = own / width * width;
  if (!spnas::emulation::is_width(width)) spnas::emulation::fail("__shfl_sync: %d is no width", width);
  return spnas::emulation::shuffle(mask, value, first + (lane & (width - 1)), true, "__shfl_sync", where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, SPNAS_HERE) {
  const int own = spnas::emulation::lane_number(), source = own ^ lanes;
  if (!spnas::emulation::is_width(width)) spnas::emulation::fail("__shfl_xor_sync: %d is no width", width);
  const bool is_inside = source < (own / width + 1) * width && source < warpSize;
  return spnas::emulation::shuffle(mask, value, source, is_inside, "__shfl_xor_sync", where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SPNAS_HERE) {
  const int own = spnas::emulation::lane_number(), source = own - int(delta);
  if (!spnas::emulation::is_width(width)) spnas::emulation::fail("__shfl_up_sync: %d is no width", width);
  return spnas::emulation::shuffle(mask, value, source, source >= own / width * width, "__shfl_up_sync", where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SPNAS_HERE) {
  const int own = spnas::emulation::lane_number(), source = own + int(delta);
  if (!spnas::emulation::is_width(width)) spnas::emulation::fail("__shfl_down_sync: %d is no width", width);
  return spnas::emulation::shuffle(mask, value, source, source < (own / width + 1) * width, "__shfl_down_sync", where);
}

#define SPNAS_REDUCE(name, expression)                                                                             \
  template <typename T>                                                                                            \
  T __reduce_##name##_sync(unsigned mask, T value, SPNAS_HERE) {                                                   \
    static_assert(std::is_integral_v<T> && sizeof(T) == 4, "the device reduces integers of 32 bits");             \
    return spnas::emulation::reduce(mask, value, "__reduce_" #name "_sync", where, [](T a, T b) { return T(expression); }); \
  }
SPNAS_REDUCE(add, unsigned(a) + unsigned(b))
SPNAS_REDUCE(min, std::min(a, b))
SPNAS_REDUCE(max, std::max(a, b))
SPNAS_REDUCE(and, a & b)
SPNAS_REDUCE(or, a | b)
SPNAS_REDUCE(xor, a ^ b)
#undef SPNAS_REDUCE
#undef SPNAS_HERE
