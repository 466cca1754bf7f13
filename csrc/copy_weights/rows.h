// Where elements lie in one run: what both devices copy in rows instead of one by one.
#pragma once

#include "copy_weights/arithmetic.h"

namespace spnas::copy_weights {

// Elements behind the output and input channels lie in one run on both sides, and so do a source's input channels.
struct Rows {
  bool exist;
  int64_t inputs, run;
};

inline Rows rows_of(const Job& job) {
  if (job.input_dim >= kMaxDims) {  // one dimension: output channels alone
    const bool dense = job.output_dim == kMaxDims - 1;
    return {dense, 1, 1};
  }
  int64_t run = 1;
  for (int dim = kMaxDims - 1; dim > job.input_dim; --dim) {
    if (job.sizes[dim] > 1 && (job.destination_strides[dim] != run || job.source_strides[dim] != run)) return {};
    run *= job.sizes[dim];
  }
  const int64_t inputs = job.sizes[job.input_dim];
  const bool dense = inputs == 1 || (job.destination_strides[job.input_dim] == run && job.source_strides[job.input_dim] == run);
  // With one input channel and a map the source may have more of them: their stride counts.
  const bool mapped_dense = job.input_map == nullptr || job.source_strides[job.input_dim] == run;
  return {dense && mapped_dense, inputs, run};
}

}  // namespace spnas::copy_weights
