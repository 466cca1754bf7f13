#include <algorithm>
#include <bit>
#include <tuple>
#include <type_traits>
#include <vector>

#include <cub/device/device_radix_sort.cuh>

#include "common/cuda.h"
#include "nms_grouped/device.cuh"
#include "nms_grouped/plan.h"

namespace spnas::nms_grouped {
namespace {

unsigned blocks_for(int64_t total, int threads) { return static_cast<unsigned>((total + threads - 1) / threads); }

// Memory of the caching allocator, which torch frees behind the stream's work.
class Scratch {
 public:
  explicit Scratch(const Tensor& like) : like_(like) {}

  template <typename Value>
  Value* take(int64_t count) {
    tensors_.push_back(torch::stable::new_empty(like_, {std::max<int64_t>(1, count) * int64_t(sizeof(Value))}, ScalarType::Byte));
    return static_cast<Value*>(tensors_.back().mutable_data_ptr());
  }

 private:
  const Tensor& like_;
  std::vector<Tensor> tensors_;
};

// Sorts in place of the caller's pointers: they point to the result afterwards.
template <typename Key>
void sort_pairs(Scratch& scratch, Key*& keys, int32_t*& values, int64_t count, int begin_bit, int end_bit, cudaStream_t stream) {
  cub::DoubleBuffer<Key> key_buffer(keys, scratch.take<Key>(count));
  cub::DoubleBuffer<int32_t> value_buffer(values, scratch.take<int32_t>(count));
  size_t bytes = 0;
  STD_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(nullptr, bytes, key_buffer, value_buffer, count, begin_bit, end_bit, stream));
  void* temporary = scratch.take<char>(int64_t(bytes));
  STD_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(temporary, bytes, key_buffer, value_buffer, count, begin_bit, end_bit, stream));
  keys = key_buffer.Current();
  values = value_buffer.Current();
}

template <typename Value, typename Score>
void suppress_as(const Tensor& boxes, const Tensor& scores, const int64_t* groups, const Shape& shape, double threshold,
                 int64_t max_keep, bool masks_infinity, int64_t* keep, int64_t* counts, cudaStream_t stream) {
  constexpr int kThreads = 256;
  constexpr bool kWide = std::is_same_v<Score, double>;
  const int64_t total = shape.images * shape.count, words = (shape.count + kTile - 1) / kTile;
  const unsigned blocks = blocks_for(total, kThreads);
  const Value* box_values = boxes.const_data_ptr<Value>();
  const Score* score_values = scores.const_data_ptr<Score>();
  Scratch scratch(boxes);

  Word* keys = scratch.take<Word>(total);
  int32_t* slots = scratch.take<int32_t>(total);
  const void* any_scores = score_values;
  make_keys<<<blocks, kThreads, 0, stream>>>(kWide ? nullptr : static_cast<const float*>(any_scores),
                                             kWide ? static_cast<const double*>(any_scores) : nullptr, total, keys, slots);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  // The lowest 29 bits of a float32 score are zero as float64, but for the NaNs at the end.
  sort_pairs(scratch, keys, slots, total, kWide ? 0 : 29, 64, stream);
  if (shape.images > 1) {  // both sorts are stable, so an image's boxes stay in order
    uint32_t* images = scratch.take<uint32_t>(total);
    make_images<<<blocks, kThreads, 0, stream>>>(slots, total, shape.count, images);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    sort_pairs(scratch, images, slots, total, 0, std::bit_width(static_cast<uint64_t>(shape.images - 1)), stream);
  }

  Box<Value>* ranked_boxes = scratch.take<Box<Value>>(total);
  int64_t* ranked_groups = scratch.take<int64_t>(total);
  bool* takes_part = scratch.take<bool>(total);
  gather<<<blocks, kThreads, 0, stream>>>(slots, box_values, score_values, groups, total, masks_infinity, ranked_boxes,
                                          ranked_groups, takes_part);
  STD_CUDA_KERNEL_LAUNCH_CHECK();

  // Images share the mask's memory if theirs together would be too much of it.
  const int64_t at_once = std::clamp<int64_t>((int64_t(1) << 28) / (shape.count * words), 1, std::min<int64_t>(shape.images, 65535));
  Word* mask = scratch.take<Word>(at_once * shape.count * words);
  for (int64_t image = 0; image < shape.images; image += at_once) {
    const unsigned images = static_cast<unsigned>(std::min(at_once, shape.images - image));
    const int64_t begin = image * shape.count;
    const dim3 grid(static_cast<unsigned>(words * (words + 1) / 2), images);
    fill_mask<<<grid, kTile, 0, stream>>>(ranked_boxes + begin, ranked_groups + begin, shape.count, words,
                                          threshold_as<Value>(threshold), mask);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    walk<<<images, kWalkThreads, static_cast<size_t>(words) * sizeof(Word), stream>>>(
        mask, slots + begin, takes_part + begin, shape.count, words, max_keep, keep + image * max_keep, counts + image);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

// Fills keep[images, max_keep] and counts[images] without a word to the host.
void suppress(const Tensor& boxes, const Tensor& scores, const Tensor& groups, const Shape& shape, double threshold,
              int64_t max_keep, bool masks_infinity, int64_t* keep, int64_t* counts, cudaStream_t stream) {
  require(shape.count <= kMaxCount, "an image has ", shape.count, " boxes: at most ", kMaxCount, " are supported on CUDA");
  if (shape.count == 0) {
    STD_CUDA_CHECK(cudaMemsetAsync(counts, 0, shape.images * sizeof(int64_t), stream));
    STD_CUDA_CHECK(cudaMemsetAsync(keep, 0xff, shape.images * max_keep * sizeof(int64_t), stream));
    return;
  }
  const Tensor boxes_in_order = torch::stable::contiguous(boxes), scores_in_order = torch::stable::contiguous(scores);
  const Tensor groups_in_order = torch::stable::contiguous(groups);
  const auto run = [&](auto value, auto score) {
    suppress_as<decltype(value), decltype(score)>(boxes_in_order, scores_in_order, groups_in_order.const_data_ptr<int64_t>(),
                                                  shape, threshold, max_keep, masks_infinity, keep, counts, stream);
  };
  const bool wide = boxes.scalar_type() == ScalarType::Double, wide_scores = scores.scalar_type() == ScalarType::Double;
  if (wide && wide_scores) return run(double(), double());
  if (wide) return run(double(), float());
  if (wide_scores) return run(float(), double());
  run(float(), float());
}

// As one image without a limit; its result's size is known once the device has come so far.
Tensor nms_grouped_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& groups, double iou_threshold) {
  const Shape shape = checked_shape(boxes, scores, groups, iou_threshold, 1);
  if (shape.count == 0) return torch::stable::new_empty(groups, {0});
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes);
  Tensor all = torch::stable::new_empty(groups, {shape.count + 1});
  int64_t* indices = all.mutable_data_ptr<int64_t>();
  suppress(boxes, scores, groups, shape, iou_threshold, shape.count, false, indices, indices + shape.count, stream);
  int64_t total = 0;
  STD_CUDA_CHECK(cudaMemcpyAsync(&total, indices + shape.count, sizeof total, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  Tensor keep = torch::stable::new_empty(groups, {total});
  STD_CUDA_CHECK(cudaMemcpyAsync(keep.mutable_data_ptr<int64_t>(), indices, total * sizeof(int64_t), cudaMemcpyDeviceToDevice,
                                 stream));
  return keep;
}

std::tuple<Tensor, Tensor> nms_grouped_padded_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& groups,
                                                   double iou_threshold, int64_t max_keep) {
  const Shape shape = checked_shape(boxes, scores, groups, iou_threshold, 2);
  require(max_keep >= 0, "max_keep must be at least 0, not ", max_keep);
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  Tensor keep = torch::stable::new_empty(groups, {shape.images, max_keep});
  Tensor counts = torch::stable::new_empty(groups, {shape.images});
  if (shape.images > 0) {
    suppress(boxes, scores, groups, shape, iou_threshold, max_keep, true, keep.mutable_data_ptr<int64_t>(),
             counts.mutable_data_ptr<int64_t>(), current_stream(boxes));
  }
  return {keep, counts};
}

}  // namespace
}  // namespace spnas::nms_grouped

STABLE_TORCH_LIBRARY_IMPL(spnas, CUDA, m) {
  m.impl("nms_grouped", TORCH_BOX(&spnas::nms_grouped::nms_grouped_cuda));
  m.impl("nms_grouped_padded", TORCH_BOX(&spnas::nms_grouped::nms_grouped_padded_cuda));
}
