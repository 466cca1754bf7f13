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
  for (int64_t i = 0; i < count; ++i) jobs.push_back(make_job(copies[i]));
  Table table = make_table(jobs);
  const Layout& layout = table.layout;
  emulation::Scratch scratch;
  char* memory = scratch.take<char>(int64_t(table.bytes.size()));
  std::memcpy(memory, table.moved_to(memory), table.bytes.size());
  if (layout.plain_pieces > 0) {
    emulation::launch(copy_plain, unsigned(layout.plain_pieces), kThreads, 0,
                      reinterpret_cast<const PlainPiece*>(memory + layout.plain_pieces_at));
  }
  if (layout.mapped_pieces > 0) {
    emulation::launch(copy_mapped, unsigned(layout.mapped_pieces), kThreads, 0, reinterpret_cast<const MappedJob*>(memory),
                      reinterpret_cast<const MappedPiece*>(memory + layout.mapped_pieces_at));
  }
}

}  // namespace spnas::copy_weights
