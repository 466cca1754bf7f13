// As copy_weights/cuda.cu launches it.
#include "emulation/cuda.h"
#include "emulation/scratch.h"

#include <algorithm>

#include "copy_weights/device.cuh"

namespace spnas::copy_weights {

// One copy as make_job() in copy_weights/plan.h takes it apart; the same fields in the same order as in the tests.
struct Copy {
  void* destination;
  const void* source;
  const int64_t* output_map;
  const int64_t* input_map;
  const double* scale;
  int64_t scale_step, dims;
  const int64_t* sizes;  // of the destination
  const int64_t* destination_strides;
  const int64_t* source_strides;
  int32_t item_size;  // of the destination
  int32_t destination_type, source_type;
  int32_t is_plain;
};

namespace {

Job make_job(const Copy& copy) {
  Job job{};
  job.destination = static_cast<char*>(copy.destination);
  job.source = static_cast<const char*>(copy.source);
  job.output_map = copy.output_map;
  job.input_map = copy.input_map;
  job.scale = copy.scale;
  job.scale_step = copy.scale_step;
  job.item_size = copy.item_size;
  job.destination_type = static_cast<Type>(copy.destination_type);
  job.source_type = static_cast<Type>(copy.source_type);
  job.is_plain = copy.is_plain != 0;
  const int64_t unused = kMaxDims - copy.dims;
  job.output_dim = int32_t(unused);
  job.input_dim = int32_t(copy.dims >= 2 ? unused + 1 : kMaxDims);
  job.numel = 1;
  std::fill(job.sizes, job.sizes + unused, 1);
  for (int64_t dim = 0; dim < copy.dims; ++dim) {
    job.sizes[unused + dim] = copy.sizes[dim];
    job.destination_strides[unused + dim] = copy.destination_strides[dim];
    job.source_strides[unused + dim] = copy.source_strides[dim];
    job.numel *= copy.sizes[dim];
  }
  return job;
}

}  // namespace

SPNAS_EMULATED_ENTRY void emulate_copy_weights(uint64_t seed, const Copy* copies, int64_t count) {
  emulation::seed_schedule(seed);
  std::vector<Job> jobs;
  std::vector<Piece> pieces;
  for (int64_t i = 0; i < count; ++i) {
    const Job job = make_job(copies[i]);
    const int64_t extent = job.is_plain ? job.numel * job.item_size : job.numel;
    const int64_t step = job.is_plain ? kPieceBytes : kPieceBytes / 16;
    for (int64_t begin = 0; begin < extent; begin += step) pieces.push_back({int32_t(i), begin, std::min(begin + step, extent)});
    jobs.push_back(job);
  }
  if (pieces.empty()) return;
  emulation::Scratch scratch;
  Job* device_jobs = scratch.take<Job>(count);
  Piece* device_pieces = scratch.take<Piece>(int64_t(pieces.size()));
  std::copy(jobs.begin(), jobs.end(), device_jobs);
  std::copy(pieces.begin(), pieces.end(), device_pieces);
  emulation::launch(copy_weights_kernel, unsigned(pieces.size()), kThreads, 0, static_cast<const Job*>(device_jobs),
                    static_cast<const Piece*>(device_pieces));
}

}  // namespace spnas::copy_weights
