// What a CUDA device does: a block per piece of a job.
#pragma once

#include <cstdint>

#include "copy_weights/arithmetic.h"

namespace spnas::copy_weights {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPieceBytes = 1 << 16;

// What one block does: elements [begin, end) of a job; bytes of a plain one.
struct Piece {
  int32_t job;
  int64_t begin, end;
};

__device__ void copy_bytes(char* destination, const char* source, int64_t bytes) {
  const auto misaligned = (reinterpret_cast<uintptr_t>(destination) | reinterpret_cast<uintptr_t>(source)) & 15u;
  const int64_t vectors = misaligned ? 0 : bytes / 16;
  for (int64_t i = threadIdx.x; i < vectors; i += kThreads) {
    reinterpret_cast<int4*>(destination)[i] = __ldcs(reinterpret_cast<const int4*>(source) + i);
  }
  for (int64_t i = vectors * 16 + threadIdx.x; i < bytes; i += kThreads) destination[i] = source[i];
}

__global__ void __launch_bounds__(kThreads) copy_weights_kernel(const Job* jobs, const Piece* pieces) {
  const Piece piece = pieces[blockIdx.x];
  const Job job = jobs[piece.job];
  if (job.is_plain) {
    copy_bytes(job.destination + piece.begin, job.source + piece.begin, piece.end - piece.begin);
    return;
  }
  for (int64_t index = piece.begin + threadIdx.x; index < piece.end; index += kThreads) copy_element(job, index);
}

}  // namespace
}  // namespace spnas::copy_weights
