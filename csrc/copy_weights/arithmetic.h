// One copy of an inheritance plan, and what happens to a single element of it. Shared by the CPU and the CUDA file.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/half.h"

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
