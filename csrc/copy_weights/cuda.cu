#include <vector>

#include "common/cuda.h"
#include "copy_weights/device.cuh"
#include "copy_weights/plan.h"

namespace spnas::copy_weights {
namespace {

template <typename Value>
size_t append(std::vector<char>& table, const Value* values, size_t count) {
  const size_t offset = (table.size() + 15) / 16 * 16;
  table.resize(offset + count * sizeof(Value));
  std::memcpy(table.data() + offset, values, count * sizeof(Value));
  return offset;
}

// Jobs, pieces, maps and scales travel to the device in one buffer; then one launch does everything.
void copy_weights_cuda(Tensors destinations, Tensors sources, OptionalTensors output_maps, OptionalTensors input_maps,
                       OptionalTensors scales) {
  std::vector<Job> jobs = make_jobs(destinations, sources, output_maps, input_maps, scales);
  if (jobs.empty()) return;
  const torch::stable::accelerator::DeviceGuard guard(destinations[0].get_device_index());
  const cudaStream_t stream = current_stream(destinations[0]);

  size_t bytes = jobs.size() * sizeof(Job);
  std::vector<Piece> pieces;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Job& job = jobs[i];
    const int64_t extent = job.is_plain ? job.numel * job.item_size : job.numel;
    const int64_t step = job.is_plain ? kPieceBytes : kPieceBytes / 16;
    for (int64_t begin = 0; begin < extent; begin += step) {
      pieces.push_back({static_cast<int32_t>(i), begin, std::min(begin + step, extent)});
    }
    for (const int64_t* map : {job.output_map, job.input_map}) {
      if (map != nullptr) bytes += job.sizes[map == job.output_map ? job.output_dim : job.input_dim] * 8 + 16;
    }
    if (job.scale != nullptr) bytes += (job.scale_step ? job.sizes[job.input_dim] : 1) * 8 + 16;
  }
  bytes += pieces.size() * sizeof(Piece) + 64;

  Tensor buffer = torch::stable::new_empty(destinations[0], {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  char* device = static_cast<char*>(buffer.mutable_data_ptr());
  std::vector<char> table;
  table.reserve(bytes);
  table.resize(jobs.size() * sizeof(Job));
  for (Job& job : jobs) {
    const auto move = [&](auto*& values, int64_t count) {
      if (values != nullptr) {
        const size_t offset = append(table, values, count);
        values = reinterpret_cast<std::remove_reference_t<decltype(values)>>(device + offset);
      }
    };
    move(job.output_map, job.output_dim < kMaxDims ? job.sizes[job.output_dim] : 0);
    move(job.input_map, job.input_dim < kMaxDims ? job.sizes[job.input_dim] : 0);
    move(job.scale, job.scale_step ? job.sizes[job.input_dim] : 1);
  }
  std::memcpy(table.data(), jobs.data(), jobs.size() * sizeof(Job));
  const size_t pieces_at = append(table, pieces.data(), pieces.size());
  STD_CUDA_CHECK(cudaMemcpyAsync(device, table.data(), table.size(), cudaMemcpyHostToDevice, stream));
  copy_weights_kernel<<<static_cast<unsigned>(pieces.size()), kThreads, 0, stream>>>(
      reinterpret_cast<const Job*>(device), reinterpret_cast<const Piece*>(device + pieces_at));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace
}  // namespace spnas::copy_weights

STABLE_TORCH_LIBRARY_IMPL(spnas, CUDA, m) {
  m.impl("copy_weights_", TORCH_BOX(&spnas::copy_weights::copy_weights_cuda));
}
