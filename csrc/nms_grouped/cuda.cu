#include <algorithm>
#include <bit>
#include <limits>
#include <tuple>
#include <type_traits>
#include <vector>

#include <cub/device/device_radix_sort.cuh>

#include "common/cuda.h"
#include "nms_grouped/arithmetic.h"
#include "nms_grouped/plan.h"

namespace spnas::nms_grouped {
namespace {

constexpr int kTile = 64;  // boxes whose mutual suppression fits one word per box
constexpr int kWalkThreads = 512;
constexpr int64_t kMaxCount = int64_t(1) << 17;  // boxes of one image: their mask has 2 GiB

using Word = unsigned long long;

// One slot per box, first in the order of the input, then image by image by descending score.
__global__ void make_keys(const float* scores, const double* wide_scores, int64_t total, Word* keys, int32_t* slots) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  const double score = (wide_scores != nullptr ? wide_scores[i] : double(scores[i])) + 0.0;  // one zero
  const Word bits = __double_as_longlong(score);
  const Word sign = Word(1) << 63;
  // Ascending keys are descending scores; a NaN comes last, behind -inf.
  keys[i] = score != score ? ~Word(0) : bits & sign ? bits : ~bits & ~sign;
  slots[i] = int32_t(i);
}

__global__ void make_images(const int32_t* slots, int64_t total, int64_t count, uint32_t* images) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < total) images[i] = uint32_t(slots[i] / count);
}

template <typename Value, typename Score>
__global__ void gather(const int32_t* slots, const Value* boxes, const Score* scores, const int64_t* groups, int64_t total,
                       bool masks_infinity, Box<Value>* ranked_boxes, int64_t* ranked_groups, bool* takes_part) {
  const int64_t rank = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (rank >= total) return;
  const int64_t slot = slots[rank];
  const Value* corners = boxes + slot * 4;
  const Box<Value> box{corners[0], corners[1], corners[2], corners[3]};
  const Score score = scores[slot];
  const bool is_nan =
      score != score || box.x1 != box.x1 || box.y1 != box.y1 || box.x2 != box.x2 || box.y2 != box.y2;
  ranked_boxes[rank] = box;
  ranked_groups[rank] = groups[slot];
  takes_part[rank] = !is_nan && !(masks_infinity && score == -std::numeric_limits<Score>::infinity());
}

// Bit b of mask[image][i][word] says that box i suppresses box word * 64 + b, which comes behind it.
template <typename Value>
__global__ void __launch_bounds__(kTile) fill_mask(const Box<Value>* boxes, const int64_t* groups, int64_t count, int64_t words,
                                                   Value threshold, Word* mask) {
  // blockIdx.x counts the tiles on and above the diagonal, row by row from the last one on.
  const int64_t pair = blockIdx.x;
  int64_t rows = int64_t((sqrt(8.0 * double(pair) + 1.0) - 1.0) / 2.0);
  while (rows * (rows + 1) / 2 > pair) --rows;
  while ((rows + 1) * (rows + 2) / 2 <= pair) ++rows;
  const int64_t row = words - 1 - rows;
  const int64_t column = row + (pair - rows * (rows + 1) / 2);
  const int64_t image = blockIdx.y;
  boxes += image * count;
  groups += image * count;

  __shared__ Box<Value> others[kTile];
  __shared__ Value areas[kTile];
  __shared__ int64_t other_groups[kTile];
  const int64_t other = column * kTile + threadIdx.x;
  if (other < count) {
    others[threadIdx.x] = boxes[other];
    areas[threadIdx.x] = area_of(boxes[other]);
    other_groups[threadIdx.x] = groups[other];
  }
  __syncthreads();
  const int64_t i = row * kTile + threadIdx.x;
  if (i >= count) return;
  const Box<Value> box = boxes[i];
  const Value area = area_of(box);
  const int64_t group = groups[i];
  const int end = int(count - column * kTile < kTile ? count - column * kTile : kTile);
  Word suppressed = 0;
  for (int b = row == column ? int(threadIdx.x) + 1 : 0; b < end; ++b) {
    if (other_groups[b] != group) continue;
    const Value shared = intersection(box, others[b]);
    if (shared / (area + areas[b] - shared) > threshold) suppressed |= Word(1) << b;
  }
  mask[(image * count + i) * words + column] = suppressed;
}

// One block per image goes through its boxes, a tile at a time, best first.
__global__ void __launch_bounds__(kWalkThreads) walk(const Word* mask, const int32_t* slots, const bool* takes_part,
                                                     int64_t count, int64_t words, int64_t max_keep, int64_t* keep,
                                                     int64_t* counts) {
  extern __shared__ Word removed[];
  __shared__ Word diagonal[kTile];
  __shared__ Word chosen;
  const int64_t image = blockIdx.x;
  mask += image * count * words;
  slots += image * count;
  takes_part += image * count;
  keep += image * max_keep;
  for (int64_t word = threadIdx.x; word < words; word += kWalkThreads) {
    Word out = 0;
    for (int64_t b = 0; b < kTile; ++b) {
      const int64_t i = word * kTile + b;
      if (i >= count || !takes_part[i]) out |= Word(1) << b;
    }
    removed[word] = out;
  }
  int64_t total = 0;  // the same in all threads
  for (int64_t tile = 0; tile < words && total < max_keep; ++tile) {
    const int64_t begin = tile * kTile;
    if (threadIdx.x < kTile) {
      const int64_t i = begin + threadIdx.x;
      diagonal[threadIdx.x] = i < count ? mask[i * words + tile] : 0;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      Word gone = removed[tile], kept = 0;
      int64_t room = max_keep - total;
      for (int b = 0; b < kTile && room > 0; ++b) {
        if (gone >> b & 1) continue;
        kept |= Word(1) << b;
        gone |= diagonal[b];
        --room;
      }
      chosen = kept;
    }
    __syncthreads();
    const Word kept = chosen;
    if (threadIdx.x < kTile && (kept >> threadIdx.x & 1)) {
      const int before = __popcll(kept & ((Word(1) << threadIdx.x) - 1));
      keep[total + before] = slots[begin + threadIdx.x] % count;
    }
    for (int64_t word = tile + 1 + threadIdx.x; word < words; word += kWalkThreads) {
      Word out = removed[word];
      for (Word left = kept; left != 0; left &= left - 1) out |= mask[(begin + __ffsll(left) - 1) * words + word];
      removed[word] = out;
    }
    total += __popcll(kept);
    __syncthreads();
  }
  for (int64_t i = total + threadIdx.x; i < max_keep; i += kWalkThreads) keep[i] = -1;
  if (threadIdx.x == 0) counts[image] = total;
}

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
