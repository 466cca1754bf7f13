#include <cstring>

#include "common/parallel.h"
#include "copy_weights/kernel.h"
#include "copy_weights/plan.h"
#include "copy_weights/rows.h"

namespace spnas::copy_weights {
namespace {

constexpr int64_t kPieceBytes = 1 << 19;  // what one thread takes at a time

// A part of one job: bytes of a plain one, output channels of another.
struct Piece {
  const Job* job;
  int64_t begin, end;
};

void copy_rows(const Job& job, const Rows& rows, int64_t begin, int64_t end) {
  const bool scaled_floats = job.scale != nullptr && job.destination_type == Type::float32 && job.source_type == Type::float32;
  const bool same = job.scale == nullptr && job.destination_type == job.source_type;
  const auto gather_runs = SPNAS_SELECT(gather_runs);
  const auto gather_scaled_floats = SPNAS_SELECT(gather_scaled_floats);
  const int64_t row = rows.inputs * rows.run;
  for (int64_t output = begin; output < end; ++output) {
    const int64_t read = job.output_map == nullptr ? output : job.output_map[output];
    const int64_t to = output * job.destination_strides[job.output_dim];
    const int64_t from = read * job.source_strides[job.output_dim];
    if (same) {
      char* destination = job.destination + to * job.item_size;
      const char* source = job.source + from * job.item_size;
      if (job.input_map == nullptr) {
        std::memcpy(destination, source, row * job.item_size);
      } else {
        gather_runs(destination, source, job.input_map, rows.inputs, rows.run, job.item_size);
      }
    } else if (scaled_floats) {
      gather_scaled_floats(reinterpret_cast<float*>(job.destination) + to, reinterpret_cast<const float*>(job.source) + from,
                           job.input_map, job.scale, job.scale_step, rows.inputs, rows.run);
    } else {
      for (int64_t index = output * row; index < (output + 1) * row; ++index) copy_element(job, index);
    }
  }
}

void copy(const Piece& piece) {
  const Job& job = *piece.job;
  if (job.is_plain) {
    SPNAS_SELECT(stream_bytes)(job.destination + piece.begin, job.source + piece.begin, piece.end - piece.begin);
    return;
  }
  const Rows rows = rows_of(job);
  if (rows.exist) {
    copy_rows(job, rows, piece.begin, piece.end);
    return;
  }
  const int64_t outputs = job.output_dim < kMaxDims ? job.sizes[job.output_dim] : 1;
  const int64_t per_output = job.numel / outputs;
  for (int64_t index = piece.begin * per_output; index < piece.end * per_output; ++index) copy_element(job, index);
}

void copy_weights_cpu(Tensors destinations, Tensors sources, OptionalTensors output_maps, OptionalTensors input_maps,
                      OptionalTensors scales) {
  const std::vector<Job> jobs = make_jobs(destinations, sources, output_maps, input_maps, scales);
  std::vector<Piece> pieces;
  for (const Job& job : jobs) {
    const int64_t bytes = job.numel * job.item_size;
    const int64_t outputs = job.output_dim < kMaxDims ? job.sizes[job.output_dim] : 1;
    const int64_t extent = job.is_plain ? bytes : outputs;
    const int64_t step = job.is_plain ? kPieceBytes : std::max<int64_t>(1, outputs * kPieceBytes / bytes);
    for (int64_t begin = 0; begin < extent; begin += step) {
      pieces.push_back({&job, begin, std::min(begin + step, extent)});
    }
  }
  for_each_piece(static_cast<int64_t>(pieces.size()), [&](int64_t i) { copy(pieces[i]); });
}

}  // namespace
}  // namespace spnas::copy_weights

STABLE_TORCH_LIBRARY_IMPL(spnas, CPU, m) {
  m.impl("copy_weights_", TORCH_BOX(&spnas::copy_weights::copy_weights_cpu));
}
