#include <algorithm>
#include <bit>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include <cub/device/device_radix_sort.cuh>

#include "common/allocation.h"
#include "common/cuda.h"
#include "nms_grouped/device.cuh"
#include "nms_grouped/plan.h"

namespace spnas::nms_grouped {
namespace {

constexpr int kSimpleThreads = 256;
constexpr unsigned kMaskBlocks = 4096;
constexpr unsigned kWalkBlocks = 264;  // two for each multiprocessor of the largest devices
constexpr int64_t kMaskWords = int64_t(1) << 25;  // 256 MiB for the masks of all groups

unsigned blocks_for(int64_t total) { return static_cast<unsigned>((total + kSimpleThreads - 1) / kSimpleThreads); }

// One block of the caching allocator, which torch frees behind the stream's work.
class Arena {
 public:
  // Says how much of what will be asked for; returns the number to ask with.
  template <typename Value>
  int64_t reserve(int64_t count) {
    const int64_t begin = bytes_;
    bytes_ += (std::max<int64_t>(1, count) * static_cast<int64_t>(sizeof(Value)) + 255) / 256 * 256;
    return begin;
  }

  void allocate(const Tensor& like) {
    tensor_.emplace(new_tensor(like, {bytes_}, ScalarType::Byte));
    base_ = static_cast<char*>(tensor_->mutable_data_ptr());
  }

  template <typename Value>
  Value* at(int64_t begin) const {
    return reinterpret_cast<Value*>(base_ + begin);
  }

 private:
  int64_t bytes_ = 0;
  std::optional<Tensor> tensor_;
  char* base_ = nullptr;
};

// Keys with numbers, sorted stably by the lowest bits; memory for both and for the sort itself.
template <typename Key>
class Sort {
 public:
  Sort(Arena& arena, int64_t count, int bits) : count_(count), bits_(bits) {
    for (int side = 0; side < 2; ++side) {
      keys_[side] = arena.reserve<Key>(count);
      values_[side] = arena.reserve<int32_t>(count);
    }
    cub::DoubleBuffer<Key> keys;
    cub::DoubleBuffer<int32_t> values;
    STD_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(nullptr, temporary_bytes_, keys, values, count_, 0, bits_));
    temporary_ = arena.reserve<char>(static_cast<int64_t>(temporary_bytes_));
  }

  Key* keys(const Arena& arena) const { return arena.at<Key>(keys_[0]); }
  int32_t* values(const Arena& arena) const { return arena.at<int32_t>(values_[0]); }

  // Sorts what lies in keys() and in `values`, which may be another sort's result; returns where the values are now.
  const int32_t* run(const Arena& arena, int32_t* values, cudaStream_t stream) {
    cub::DoubleBuffer<Key> keys(keys_of(arena, 0), keys_of(arena, 1));
    cub::DoubleBuffer<int32_t> both(values, arena.at<int32_t>(values_[1]));
    STD_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(arena.at<void>(temporary_), temporary_bytes_, keys, both, count_, 0, bits_, stream));
    sorted_keys_ = keys.Current();
    return both.Current();
  }

  const Key* sorted_keys() const { return sorted_keys_; }

 private:
  Key* keys_of(const Arena& arena, int side) const { return arena.at<Key>(keys_[side]); }

  int64_t count_;
  int bits_;
  int64_t keys_[2], values_[2], temporary_ = 0;
  size_t temporary_bytes_ = 0;
  const Key* sorted_keys_ = nullptr;
};

template <typename Value>
Threshold<Value> threshold_of(double threshold) {
  const Value exact = threshold_as<Value>(threshold);
  return {exact, exact * (Value(1) - Value(1e-6))};
}

template <typename Value, typename Score>
void suppress_as(const Tensor& boxes, const Tensor& scores, const int64_t* groups, const Shape& shape, double threshold,
                 int64_t max_keep, bool masks_infinity, int64_t* keep, int64_t* counts, cudaStream_t stream) {
  using Key = std::conditional_t<std::is_same_v<Score, double>, Word, uint32_t>;
  const int64_t total = shape.images * shape.count;
  const unsigned blocks = blocks_for(total);
  const auto table_size = std::bit_ceil(static_cast<uint32_t>(2 * total));
  const Value* box_values = boxes.const_data_ptr<Value>();
  const Score* score_values = scores.const_data_ptr<Score>();
  const bool has_many = shape.count > kFew;
  const int64_t most_words = (shape.count + kTile - 1) / kTile;
  const int64_t mask_capacity = has_many ? std::min(kMaskWords, shape.images * shape.count * most_words) : 0;

  Arena arena;
  Sort<Key> by_score(arena, total, sizeof(Key) * 8);
  Sort<uint32_t> by_image(arena, shape.images > 1 ? total : 1, std::bit_width(static_cast<uint64_t>(shape.images - 1)));
  Sort<uint32_t> by_group(arena, total, std::bit_width(table_size));
  const auto table_at = arena.reserve<int32_t>(table_size);
  const auto placed_at = arena.reserve<Box<Value>>(total);
  // What begins as zeros lies side by side: three counters, flags of places, flags of ranks.
  const auto zeros_at = arena.reserve<Word>(3);
  const auto removed_at = arena.reserve<uint8_t>(total), kept_at = arena.reserve<uint8_t>(total);
  const auto few_at = arena.reserve<Segment>(total), many_at = arena.reserve<Segment>(has_many ? total / kFew + 1 : 0);
  const auto masks_at = arena.reserve<Word>(mask_capacity);
  arena.allocate(boxes);

  make_keys<<<blocks, kSimpleThreads, 0, stream>>>(score_values, total, by_score.keys(arena), by_score.values(arena));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  int32_t* slots = const_cast<int32_t*>(by_score.run(arena, by_score.values(arena), stream));
  if (shape.images > 1) {  // the sorts are stable, so an image's boxes stay in order
    make_images<<<blocks, kSimpleThreads, 0, stream>>>(slots, total, shape.count, by_image.keys(arena));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    slots = const_cast<int32_t*>(by_image.run(arena, slots, stream));
  }

  const GroupTable table{arena.at<int32_t>(table_at), table_size - 1};
  STD_CUDA_CHECK(cudaMemsetAsync(table.slots, 0xff, table_size * sizeof(int32_t), stream));
  STD_CUDA_CHECK(cudaMemsetAsync(arena.at<char>(zeros_at), 0, static_cast<size_t>(few_at - zeros_at), stream));
  number_groups<<<blocks, kSimpleThreads, 0, stream>>>(table, slots, box_values, score_values, groups, total, shape.count,
                                                       masks_infinity, by_group.keys(arena), by_group.values(arena));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const int32_t* ranks = by_group.run(arena, by_group.values(arena), stream);

  Word* counters = arena.at<Word>(zeros_at);
  const Division division{{arena.at<Segment>(few_at), counters}, {arena.at<Segment>(many_at), counters + 1}, counters + 2, mask_capacity};
  Box<Value>* placed = arena.at<Box<Value>>(placed_at);
  uint8_t* kept = arena.at<uint8_t>(kept_at);
  gather<<<blocks, kSimpleThreads, 0, stream>>>(by_group.sorted_keys(), ranks, slots, box_values, total, table_size, division, placed);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto limit = threshold_of<Value>(threshold);
  walk_few<<<static_cast<unsigned>(std::min<int64_t>(kWalkBlocks, total)), kFewThreads, 0, stream>>>(
      division.few, placed, ranks, limit, max_keep, arena.at<uint8_t>(removed_at), kept);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  if (has_many) {
    Word* masks = arena.at<Word>(masks_at);
    fill_masks<<<kMaskBlocks, kTile, 0, stream>>>(division.many, placed, limit, masks);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    const int64_t words = std::min(most_words, kMost / kTile);
    walk_many<<<static_cast<unsigned>(std::min<int64_t>(kWalkBlocks, total / kFew + 1)), kManyThreads, words * sizeof(Word), stream>>>(
        division.many, masks, ranks, max_keep, kept);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  list_kept<<<static_cast<unsigned>(shape.images), kListThreads, 0, stream>>>(kept, slots, shape.count, max_keep, keep, counts);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// Fills keep[images, max_keep] and counts[images] without a word to the host.
void suppress(const Tensor& boxes, const Tensor& scores, const Tensor& groups, const Shape& shape, double threshold,
              int64_t max_keep, bool masks_infinity, int64_t* keep, int64_t* counts, cudaStream_t stream) {
  if (shape.count == 0) {
    STD_CUDA_CHECK(cudaMemsetAsync(counts, 0, shape.images * sizeof(int64_t), stream));
    STD_CUDA_CHECK(cudaMemsetAsync(keep, 0xff, shape.images * max_keep * sizeof(int64_t), stream));
    return;
  }
  const Tensor boxes_in_order = in_order(boxes), scores_in_order = in_order(scores);
  const Tensor groups_in_order = in_order(groups);
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
  if (shape.count == 0) return new_tensor(groups, {0});
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes);
  Tensor all = new_tensor(groups, {shape.count + 1});
  int64_t* indices = all.mutable_data_ptr<int64_t>();
  suppress(boxes, scores, groups, shape, iou_threshold, shape.count, false, indices, indices + shape.count, stream);
  int64_t total = 0;
  STD_CUDA_CHECK(cudaMemcpyAsync(&total, indices + shape.count, sizeof total, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  Tensor keep = new_tensor(groups, {total});
  STD_CUDA_CHECK(cudaMemcpyAsync(keep.mutable_data_ptr<int64_t>(), indices, total * sizeof(int64_t), cudaMemcpyDeviceToDevice,
                                 stream));
  return keep;
}

std::tuple<Tensor, Tensor> nms_grouped_padded_cuda(const Tensor& boxes, const Tensor& scores, const Tensor& groups,
                                                   double iou_threshold, int64_t max_keep) {
  const Shape shape = checked_shape(boxes, scores, groups, iou_threshold, 2);
  require(max_keep >= 0, "max_keep must be at least 0, not ", max_keep);
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  Tensor keep = new_tensor(groups, {shape.images, max_keep});
  Tensor counts = new_tensor(groups, {shape.images});
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
