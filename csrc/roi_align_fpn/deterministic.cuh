// The backward that repeats to the bit: no two threads write one pixel.
#pragma once

#include "roi_align_fpn/axis.cuh"
#include "roi_align_fpn/launch.cuh"

namespace spnas::roi_align_fpn {
namespace {

constexpr int kTileSide = 16;
constexpr int kTileChannels = 8;

// Deterministic: a thread owns a pixel of eight channels and adds what each RoI gives it, in the RoIs' order.
template <typename Stored>
__global__ void __launch_bounds__(kThreads) deterministic_backward_kernel(const __grid_constant__ Launch<float> launch,
                                                                          const Stored* gradient, int32_t level_number,
                                                                          int64_t rois) {
  __shared__ int32_t hits[kThreads];
  __shared__ int32_t hit_counts[kThreads / 32];
  const Level<float> level = launch.levels[level_number];
  const int32_t tiles_across = (level.width + kTileSide - 1) / kTileSide;
  const int32_t top = blockIdx.x / tiles_across * kTileSide, left = blockIdx.x % tiles_across * kTileSide;
  const int32_t row = top + threadIdx.x / kTileSide, column = left + threadIdx.x % kTileSide;
  const int32_t blocks = (launch.channels + kTileChannels - 1) / kTileChannels;
  const int32_t image = blockIdx.y / blocks, first = blockIdx.y % blocks * kTileChannels;
  const int32_t channels = min(kTileChannels, launch.channels - first);
  const int32_t bins = launch.pooled_height * launch.pooled_width;
  float sums[kTileChannels] = {};

  for (int64_t begin = 0; begin < rois; begin += kThreads) {
    // All threads look at one RoI each; those that may reach this tile are listed in order.
    bool reaches = false;
    if (begin + threadIdx.x < rois) {
      const Region region = region_of(launch, begin + threadIdx.x);
      reaches = region.is_valid && region.image == image && region.level == level_number;
      const float bottom_edge = region.y.start + region.y.bin * launch.pooled_height;
      const float right_edge = region.x.start + region.x.bin * launch.pooled_width;
      reaches = reaches && region.y.start - 2 <= float(top + kTileSide) && bottom_edge + 2 >= float(top) &&
                region.x.start - 2 <= float(left + kTileSide) && right_edge + 2 >= float(left);
    }
    const unsigned ballot = __ballot_sync(0xffffffffu, reaches);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (lane == 0) hit_counts[warp] = __popc(ballot);
    __syncthreads();
    int offset = 0, total = 0;
    for (int w = 0; w < kThreads / 32; ++w) {
      if (w < warp) offset += hit_counts[w];
      total += hit_counts[w];
    }
    if (reaches) hits[offset + __popc(ballot & ((1u << lane) - 1))] = int32_t(begin) + threadIdx.x;
    __syncthreads();
    for (int h = 0; h < total && row < level.height && column < level.width; ++h) {
      const Region region = region_of(launch, hits[h]);
      const float share = share_of(region);
      const Stored* source = gradient + (int64_t(hits[h]) * launch.channels + first) * bins;
      for (int32_t bin_y = 0; bin_y < launch.pooled_height; ++bin_y) {
        const float weight_y = weight_of(region.y, bin_y, row, level.height);
        if (weight_y == 0) continue;
        for (int32_t bin_x = 0; bin_x < launch.pooled_width; ++bin_x) {
          const float weight_x = weight_of(region.x, bin_x, column, level.width);
          if (weight_x == 0) continue;
          const float weight = weight_y * weight_x * share;
          const int32_t bin = bin_y * launch.pooled_width + bin_x;
          for (int c = 0; c < channels; ++c) sums[c] += weight * widened(source[c * bins + bin]);
        }
      }
    }
    __syncthreads();
  }
  if (row >= level.height || column >= level.width) return;
  const int64_t row_stride = level.channels_last ? int64_t(level.width) * launch.channels : level.width;
  const int64_t column_stride = level.channels_last ? launch.channels : 1;
  for (int c = 0; c < channels; ++c) {
    level.data[plane_offset(launch, level, image, first + c) + row * row_stride + column * column_stride] = sums[c];
  }
}

}  // namespace
}  // namespace spnas::roi_align_fpn
