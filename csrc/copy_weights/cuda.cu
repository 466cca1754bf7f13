#include <tuple>
#include <vector>

#include "common/allocation.h"
#include "common/cuda.h"
#include "copy_weights/device.cuh"
#include "copy_weights/plan.h"

namespace spnas::copy_weights {
namespace {

void launch(const char* table, const Layout& layout, cudaStream_t stream) {
  if (layout.plain_pieces > 0) {
    copy_plain<<<static_cast<unsigned>(layout.plain_pieces), kThreads, 0, stream>>>(
        reinterpret_cast<const PlainPiece*>(table + layout.plain_pieces_at));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  if (layout.mapped_pieces > 0) {
    copy_mapped<<<static_cast<unsigned>(layout.mapped_pieces), kThreads, 0, stream>>>(
        reinterpret_cast<const MappedJob*>(table), reinterpret_cast<const MappedPiece*>(table + layout.mapped_pieces_at));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

void refuse_capture(cudaStream_t stream, const char* what) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  STD_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  require(status == cudaStreamCaptureStatusNone, what, " can't be captured in a CUDA graph, which would read its table after it "
          "is gone: make a CopyPlan before the capture, and run that in it");
}

// The table travels to the device in one copy.
std::tuple<Tensor, std::vector<int64_t>> prepare(const Tensors& destinations, const Tensors& sources,
                                                 OptionalTensors& output_maps, OptionalTensors& input_maps,
                                                 OptionalTensors& scales, const char* what) {
  Table table = make_table(make_jobs(destinations, sources, output_maps, input_maps, scales));
  const cudaStream_t stream = current_stream(destinations[0]);
  refuse_capture(stream, what);
  Tensor memory = new_tensor(destinations[0], {static_cast<int64_t>(table.bytes.size())}, ScalarType::Byte);
  char* device = static_cast<char*>(memory.mutable_data_ptr());
  if (!table.bytes.empty()) {
    STD_CUDA_CHECK(cudaMemcpyAsync(device, table.moved_to(device), table.bytes.size(), cudaMemcpyHostToDevice, stream));
  }
  const Layout& layout = table.layout;
  return {memory, {layout.mapped_pieces_at, layout.mapped_pieces, layout.plain_pieces_at, layout.plain_pieces}};
}

Layout checked_layout(const Tensor& table, const std::vector<int64_t>& numbers) {
  require(numbers.size() == 4, "the layout of a table has 4 numbers, not ", numbers.size());
  const Layout layout{numbers[0], numbers[1], numbers[2], numbers[3]};
  const auto fits = [&](int64_t at, int64_t count, size_t size) {
    return at >= 0 && count >= 0 && at <= table.numel() && count <= (table.numel() - at) / static_cast<int64_t>(size);
  };
  require(table.scalar_type() == ScalarType::Byte && table.is_contiguous() &&
              fits(layout.mapped_pieces_at, layout.mapped_pieces, sizeof(MappedPiece)) &&
              fits(layout.plain_pieces_at, layout.plain_pieces, sizeof(PlainPiece)),
          "the table and its layout must be those of copy_weights_prepare");
  return layout;
}

void copy_weights_cuda(Tensors destinations, Tensors sources, OptionalTensors output_maps, OptionalTensors input_maps,
                       OptionalTensors scales) {
  if (destinations.empty()) return;
  const torch::stable::accelerator::DeviceGuard guard(destinations[0].get_device_index());
  const auto [table, layout] = prepare(destinations, sources, output_maps, input_maps, scales, "copy_weights_");
  launch(static_cast<const char*>(table.const_data_ptr()), checked_layout(table, layout), current_stream(table));
}

std::tuple<Tensor, std::vector<int64_t>> copy_weights_prepare_cuda(Tensors destinations, Tensors sources, OptionalTensors output_maps,
                                                                   OptionalTensors input_maps, OptionalTensors scales) {
  require(!destinations.empty(), "there must be at least one destination");
  const torch::stable::accelerator::DeviceGuard guard(destinations[0].get_device_index());
  return prepare(destinations, sources, output_maps, input_maps, scales, "copy_weights_prepare");
}

void copy_weights_run_cuda(const Tensor& table, std::vector<int64_t> layout) {
  const torch::stable::accelerator::DeviceGuard guard(table.get_device_index());
  launch(static_cast<const char*>(table.const_data_ptr()), checked_layout(table, layout), current_stream(table));
}

}  // namespace
}  // namespace spnas::copy_weights

STABLE_TORCH_LIBRARY_IMPL(spnas, CUDA, m) {
  m.impl("copy_weights_", TORCH_BOX(&spnas::copy_weights::copy_weights_cuda));
  m.impl("copy_weights_prepare", TORCH_BOX(&spnas::copy_weights::copy_weights_prepare_cuda));
  m.impl("copy_weights_run_", TORCH_BOX(&spnas::copy_weights::copy_weights_run_cuda));
}
