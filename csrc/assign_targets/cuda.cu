#include "assign_targets/device.cuh"
#include "assign_targets/plan.h"
#include "common/allocation.h"
#include "common/cuda.h"

namespace spnas::assign_targets {
namespace {

Tensor assign_targets_cuda(const Tensor& boxes, const Tensor& objects, const Tensor& labels, double foreground,
                           double background, bool keeps_best, double ignored_overlap) {
  const Shape shape = checked_shape(boxes, objects, labels);
  const Thresholds thresholds = checked_thresholds(foreground, background, keeps_best, ignored_overlap);
  require(shape.images <= 65535, "there are ", shape.images, " images: at most 65535 are supported on CUDA");
  Tensor rows = new_tensor(labels, {shape.images, shape.boxes});
  if (shape.images == 0 || shape.boxes == 0) return rows;
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes);
  const Tensor boxes_in_order = in_order(boxes), objects_in_order = in_order(objects);
  const Tensor labels_in_order = in_order(labels);
  const Arguments arguments{boxes_in_order.const_data_ptr<float>(), objects_in_order.const_data_ptr<float>(),
                            labels_in_order.const_data_ptr<int64_t>(), shape};
  const dim3 grid(static_cast<unsigned>((shape.boxes + kThreads - 1) / kThreads), static_cast<unsigned>(shape.images));
  Tensor best = new_tensor(labels, {shape.images * shape.objects + 1}, ScalarType::Int);
  int* best_of_object = best.mutable_data_ptr<int>();
  if (keeps_best) {
    STD_CUDA_CHECK(cudaMemsetAsync(best_of_object, 0, (shape.images * shape.objects + 1) * sizeof(int), stream));
    raise_best<<<grid, kThreads, 0, stream>>>(arguments, best_of_object);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  assign<<<grid, kThreads, 0, stream>>>(arguments, best_of_object, thresholds, rows.mutable_data_ptr<int64_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return rows;
}

}  // namespace
}  // namespace spnas::assign_targets

STABLE_TORCH_LIBRARY_IMPL(spnas, CUDA, m) {
  m.impl("assign_targets", TORCH_BOX(&spnas::assign_targets::assign_targets_cuda));
}
