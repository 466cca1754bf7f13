// What a CUDA device does: keys to sort by, suppression masks, and the walk through them.
#pragma once

#include <cstdint>
#include <limits>

#include "nms_grouped/arithmetic.h"

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

}  // namespace
}  // namespace spnas::nms_grouped
