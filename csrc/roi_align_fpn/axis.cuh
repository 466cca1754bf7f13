// One axis of an RoI as a thread block sees it: the pixels that its samples touch, and what each weighs in each bin.
//
// Pooling is separable, and samples on one pixel are merged: a pixel is read or written once for all samples of a bin, as
// on the CPU (geometry.h). Pixels come in tiles of at most kTaps; nearly every RoI has one tile.
#pragma once

#include <cstdint>

#include "roi_align_fpn/arithmetic.h"

namespace spnas::roi_align_fpn {
namespace {

constexpr int kThreads = 256;  // of a thread block
constexpr int kWarps = kThreads / 32;
constexpr int kTaps = 32;      // pixels of a tile
constexpr int kMostBins = 16;  // of an axis that fits the tables

struct Range {
  int32_t begin, end;
};

// A touched pixel: where it lies, in elements from the plane's first, and the bins that it counts in.
struct alignas(16) Tap {
  int32_t offset;
  Range bins;
};

// Taps ascend; those of a bin lie side by side, and so do the bins of a tap.
struct Axis {
  int32_t taps;
  Tap tap[kTaps];
  Range taps_of[kMostBins];
  float weight[kTaps][kMostBins + 1];  // averaged over the samples; the odd row length spreads columns over banks
};

// What threads exchange while they fill an axis.
struct AxisScratch {
  float weight[kMostBins][kTaps];
};

// Pixels [first, last] hold everything that the axis touches; last < first if that is nothing.
struct Reach {
  int32_t first, last;
};

__device__ inline Reach reach_of(const Span<float>& span, int32_t bins, int32_t size) {
  const float end = plus(span.start, times(float(bins), span.bin));
  if (span.samples == 0 || size == 0 || !(span.start <= float(size)) || !(end >= -1.0f)) return {0, -1};
  const float last = float(size - 1);
  return {int32_t(fminf(fmaxf(span.start, 0.0f), last)), int32_t(fminf(fmaxf(end, 0.0f) + 2.0f, last))};
}

// Fills the axis with the touched pixels from `cursor` on, `stride` elements apart, by all threads of the block. Returns
// where the next tile begins: behind `last` where there is none. The block may read the axis at once.
__device__ inline int32_t fill_axis(Axis& axis, AxisScratch& scratch, const Span<float>& span, int32_t bins, int32_t size,
                                    int32_t stride, int32_t cursor, int32_t last) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float share = 1.0f / float(max(span.samples, 1));
  int32_t taps = 0;
  while (cursor <= last && taps < kTaps) {
    for (int bin = warp; bin < bins; bin += kWarps) {
      scratch.weight[bin][lane] = cursor + lane <= last ? weight_of(span, bin, cursor + lane, size) * share : 0.0f;
    }
    __syncthreads();
    bool is_touched = false;
    for (int bin = 0; bin < bins; ++bin) is_touched = is_touched || scratch.weight[bin][lane] != 0;
    unsigned touched = __ballot_sync(0xffffffffu, is_touched);  // the same in every warp
    const int position = taps + __popc(touched & ((1u << lane) - 1));
    if (is_touched && position < kTaps) {
      if (warp == 0) axis.tap[position].offset = (cursor + lane) * stride;
      for (int bin = warp; bin < bins; bin += kWarps) axis.weight[position][bin] = scratch.weight[bin][lane];
    }
    const int found = __popc(touched), taken = min(found, kTaps - taps);
    taps += taken;
    for (int i = 0; i < taken; ++i) touched &= touched - 1;
    cursor += touched != 0 ? __ffs(touched) - 1 : 32;
    __syncthreads();
  }
  for (int bin = warp; bin < bins; bin += kWarps) {
    const unsigned mine = __ballot_sync(0xffffffffu, lane < taps && axis.weight[lane][bin] != 0);
    if (lane == 0) axis.taps_of[bin] = mine != 0 ? Range{__ffs(mine) - 1, 32 - __clz(mine)} : Range{0, 0};
  }
  if (threadIdx.x < taps) {
    int begin = bins, end = 0;
    for (int bin = 0; bin < bins; ++bin) {
      if (axis.weight[threadIdx.x][bin] == 0) continue;
      begin = min(begin, bin);
      end = bin + 1;
    }
    axis.tap[threadIdx.x].bins = {begin, end};
  }
  if (threadIdx.x == 0) axis.taps = taps;
  __syncthreads();
  return cursor;
}

}  // namespace
}  // namespace spnas::roi_align_fpn
