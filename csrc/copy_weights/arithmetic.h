// One copy of an inheritance plan, and what happens to a single element of it. Shared by the CPU and the CUDA file.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/portable.h"

namespace spnas::copy_weights {

enum class Type : int32_t { float64, float32, float16, bfloat16, other };

constexpr int kMaxDims = 6;

// destination[o, i, ...] = source[output_map[o], input_map[i], ...] * scale[i]
struct Job {
  char* destination;
  const char* source;
  const int64_t* output_map;  // or null: the identity
  const int64_t* input_map;   // or null: the identity
  const double* scale;        // or null: no scaling; scale_step 0 for one factor, 1 for one per input channel
  int64_t scale_step;
  int64_t numel;
  int64_t sizes[kMaxDims];  // of the destination; unused ones in front are 1
  int64_t destination_strides[kMaxDims];
  int64_t source_strides[kMaxDims];
  int32_t output_dim;  // which of the six dimensions the maps and the scale mean
  int32_t input_dim;
  int32_t item_size;  // bytes, where both types are equal
  Type destination_type;
  Type source_type;
  bool is_plain;  // one run of numel elements on both sides, neither converted nor scaled
};

SPNAS_HD float half_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16;
  uint32_t exponent = (bits >> 10) & 0x1fu;
  uint32_t mantissa = bits & 0x3ffu;
  uint32_t result;
  if (exponent == 0x1fu) {
    result = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent != 0) {
    result = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else if (mantissa == 0) {
    result = sign;
  } else {
    exponent = 113;
    while ((mantissa & 0x400u) == 0) {
      mantissa <<= 1;
      --exponent;
    }
    result = sign | (exponent << 23) | ((mantissa & 0x3ffu) << 13);
  }
  float value;
  memcpy(&value, &result, sizeof value);
  return value;
}

// Rounds to nearest, ties to even; not a number stays quiet.
SPNAS_HD uint16_t float_to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // 65520 and above round to infinity
  if (magnitude < 0x38800000u) {                                   // subnormal in half precision
    if (magnitude < 0x33000000u) return uint16_t(sign);
    const uint32_t shift = 126 - (magnitude >> 23);
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    uint32_t result = mantissa >> shift;
    const uint32_t rest = mantissa & ((1u << shift) - 1);
    const uint32_t middle = 1u << (shift - 1);
    if (rest > middle || (rest == middle && (result & 1u))) ++result;
    return uint16_t(sign | result);
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
}

SPNAS_HD float bfloat16_to_float(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}

SPNAS_HD uint16_t float_to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Scaling happens in double precision if either side is float64, else in single precision, with one rounding at the end.
SPNAS_HD bool computes_in_double(const Job& job) {
  return job.destination_type == Type::float64 || job.source_type == Type::float64;
}

// Elements lie at multiples of their size; without being told, a compiler for CUDA moves them byte by byte.
template <typename Value>
SPNAS_HD Value read(const char* address) {
  Value value;
  memcpy(&value, __builtin_assume_aligned(address, sizeof value), sizeof value);
  return value;
}

template <typename Value>
SPNAS_HD void write(char* address, Value value) {
  memcpy(__builtin_assume_aligned(address, sizeof value), &value, sizeof value);
}

SPNAS_HD double load(const char* address, Type type) {
  switch (type) {
    case Type::float64: return read<double>(address);
    case Type::float32: return read<float>(address);
    case Type::float16: return half_to_float(read<uint16_t>(address));
    default: return bfloat16_to_float(read<uint16_t>(address));
  }
}

SPNAS_HD void store(char* address, Type type, double value) {
  const float single = float(value);
  switch (type) {
    case Type::float64: return write(address, value);
    case Type::float32: return write(address, single);
    case Type::float16: return write(address, float_to_half(single));
    default: return write(address, float_to_bfloat16(single));
  }
}

SPNAS_HD double scaled(const Job& job, double value, int64_t input_channel) {
  if (job.scale == nullptr) return value;
  const double factor = job.scale[input_channel * job.scale_step];
  return computes_in_double(job) ? value * factor : double(float(value) * float(factor));
}

// Copies the element with this index in the destination's row-major order.
SPNAS_HD void copy_element(const Job& job, int64_t index) {
  int64_t to = 0, from = 0, input_channel = 0;
  for (int dim = kMaxDims - 1; dim >= 0; --dim) {
    const int64_t position = index % job.sizes[dim];
    index /= job.sizes[dim];
    int64_t read = position;
    if (dim == job.output_dim && job.output_map != nullptr) read = job.output_map[position];
    if (dim == job.input_dim) {
      input_channel = position;
      if (job.input_map != nullptr) read = job.input_map[position];
    }
    to += position * job.destination_strides[dim];
    from += read * job.source_strides[dim];
  }
  if (job.destination_type == job.source_type && job.scale == nullptr) {
    char* target = job.destination + to * job.item_size;
    const char* origin = job.source + from * job.item_size;
    switch (job.item_size) {
      case 1: return write(target, read<uint8_t>(origin));
      case 2: return write(target, read<uint16_t>(origin));
      case 4: return write(target, read<uint32_t>(origin));
      case 8: return write(target, read<uint64_t>(origin));
      default:  // a complex number, aligned as its halves are
        write(target, read<uint64_t>(origin));
        return write(target + 8, read<uint64_t>(origin + 8));
    }
  }
  const int64_t to_size = job.destination_type == Type::float64 ? 8 : job.destination_type == Type::float32 ? 4 : 2;
  const int64_t from_size = job.source_type == Type::float64 ? 8 : job.source_type == Type::float32 ? 4 : 2;
  const double value = load(job.source + from * from_size, job.source_type);
  store(job.destination + to * to_size, job.destination_type, scaled(job, value, input_channel));
}

}  // namespace spnas::copy_weights
