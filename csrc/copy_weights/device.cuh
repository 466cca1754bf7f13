// What a CUDA device does: a block per piece of a copy, as the table says that the host has made (table.h).
#pragma once

#include <cstdint>

#include "copy_weights/table.h"

namespace spnas::copy_weights {
namespace {

constexpr int kThreads = 256;
constexpr int kInFlight = 4;  // loads of a thread that do not wait for one another

// A block copies items with numbers [0, count).
template <typename Item>
__device__ void copy_run(Item* destination, const Item* source, int64_t count) {
  int64_t i = threadIdx.x;
  for (; i + (kInFlight - 1) * kThreads < count; i += kInFlight * kThreads) {
    Item items[kInFlight];
    for (int j = 0; j < kInFlight; ++j) items[j] = source[i + j * kThreads];
    for (int j = 0; j < kInFlight; ++j) destination[i + j * kThreads] = items[j];
  }
  for (; i < count; i += kThreads) destination[i] = source[i];
}

// In the widest items in which both sides are aligned; what lies before the first whole one and behind the last, by bytes.
template <typename Item>
__device__ void copy_aligned(char* destination, const char* source, int64_t bytes) {
  const int64_t to_item = -reinterpret_cast<intptr_t>(destination) & (sizeof(Item) - 1);
  const int64_t head = to_item < bytes ? to_item : bytes, items = (bytes - head) / sizeof(Item);
  const int64_t tail = head + items * sizeof(Item);
  copy_run(destination, source, head);
  copy_run(reinterpret_cast<Item*>(destination + head), reinterpret_cast<const Item*>(source + head), items);
  copy_run(destination + tail, source + tail, bytes - tail);
}

__global__ void __launch_bounds__(kThreads) copy_plain(const PlainPiece* pieces) {
  const PlainPiece piece = pieces[blockIdx.x];
  const auto apart = (reinterpret_cast<uintptr_t>(piece.destination) ^ reinterpret_cast<uintptr_t>(piece.source)) & 15u;
  if (apart == 0) return copy_aligned<int4>(piece.destination, piece.source, piece.bytes);
  if (apart % 4 == 0) return copy_aligned<int32_t>(piece.destination, piece.source, piece.bytes);
  if (apart % 2 == 0) return copy_aligned<int16_t>(piece.destination, piece.source, piece.bytes);
  copy_run(piece.destination, piece.source, piece.bytes);
}

// Calls step(destination element, source element, input channel) for each element of a piece of rows.
template <typename Step>
__device__ void walk_rows(const MappedJob& mapped, int64_t begin, int64_t end, const Step& step) {
  const Job& job = mapped.job;
  const uint32_t row = mapped.inputs * mapped.run, within_first = uint32_t(begin % row);
  const int64_t first = begin / row, count = end - begin;
  const int64_t to_stride = job.destination_strides[job.output_dim], from_stride = job.source_strides[job.output_dim];
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    const uint32_t at = within_first + uint32_t(i), rows = at / row, within = at - rows * row;
    const uint32_t input = within / mapped.run, rest = within - input * mapped.run;
    const int64_t output = first + rows;
    const int64_t read_output = job.output_map == nullptr ? output : job.output_map[output];
    const int64_t read_input = job.input_map == nullptr ? input : job.input_map[input];
    step(output * to_stride + within, read_output * from_stride + read_input * mapped.run + rest, input);
  }
}

template <typename Item>
__device__ void copy_rows(const MappedJob& mapped, int64_t begin, int64_t end) {
  Item* destination = reinterpret_cast<Item*>(mapped.job.destination);
  const Item* source = reinterpret_cast<const Item*>(mapped.job.source);
  walk_rows(mapped, begin, end, [&](int64_t to, int64_t from, uint32_t) { destination[to] = source[from]; });
}

__device__ inline void copy_scaled_floats(const MappedJob& mapped, int64_t begin, int64_t end) {
  const Job& job = mapped.job;
  float* destination = reinterpret_cast<float*>(job.destination);
  const float* source = reinterpret_cast<const float*>(job.source);
  walk_rows(mapped, begin, end, [&](int64_t to, int64_t from, uint32_t input) {
    destination[to] = source[from] * float(job.scale[input * job.scale_step]);
  });
}

__global__ void __launch_bounds__(kThreads) copy_mapped(const MappedJob* jobs, const MappedPiece* pieces) {
  const MappedPiece piece = pieces[blockIdx.x];
  const MappedJob& mapped = jobs[piece.job];
  const Job& job = mapped.job;
  const bool same = job.scale == nullptr && job.destination_type == job.source_type;
  const bool floats = job.destination_type == Type::float32 && job.source_type == Type::float32;
  if (mapped.run != 0 && same) {
    switch (job.item_size) {
      case 1: return copy_rows<uint8_t>(mapped, piece.begin, piece.end);
      case 2: return copy_rows<uint16_t>(mapped, piece.begin, piece.end);
      case 4: return copy_rows<uint32_t>(mapped, piece.begin, piece.end);
      case 8: return copy_rows<uint64_t>(mapped, piece.begin, piece.end);
      default: break;
    }
  }
  if (mapped.run != 0 && floats) return copy_scaled_floats(mapped, piece.begin, piece.end);
  for (int64_t index = piece.begin + threadIdx.x; index < piece.end; index += kThreads) copy_element(job, index);
}

}  // namespace
}  // namespace spnas::copy_weights
