// What a CUDA device does: RoIAlign both ways.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "roi_align_fpn/arithmetic.h"

namespace spnas::roi_align_fpn {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 32;    // of one thread block
constexpr int kMostLevels = 16;
constexpr int kTableSize = 128;  // samples of one axis that fit into the shared table
constexpr int kTileSide = 16;    // of the deterministic backward
constexpr int kTileChannels = 8;

__device__ float widened(float value) { return value; }
__device__ float widened(__half value) { return __half2float(value); }
__device__ float widened(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ void narrow(float value, float* address) { *address = value; }
__device__ void narrow(float value, __half* address) { *address = __float2half_rn(value); }
__device__ void narrow(float value, __nv_bfloat16* address) { *address = __float2bfloat16_rn(value); }

template <typename Stored>
struct Level {
  Stored* data;
  int32_t height, width;
  float scale;
  bool channels_last;
};

// Everything that a launch needs, passed by value: no table has to travel to the device.
template <typename Stored>
struct Launch {
  Level<Stored> levels[kMostLevels];
  LevelRule rule;
  const float* rois;
  int32_t images, channels;
  int32_t pooled_height, pooled_width;
  int32_t sampling_ratio;
  bool aligned;
};

// One RoI as a thread block sees it.
struct Region {
  bool is_valid;
  int32_t image, level;
  Span<float> y, x;
};

template <typename Stored>
__device__ Region region_of(const Launch<Stored>& launch, int64_t k) {
  const float* roi = launch.rois + 5 * k;
  Region region{};
  bool is_finite = true;
  for (int i = 0; i < 5; ++i) is_finite = is_finite && isfinite(roi[i]) && fabsf(roi[i]) <= 16777216.0f;
  // Waiting for the host to read the RoIs would stall the stream, so an impossible one gives zeros here.
  region.is_valid = is_finite && roi[0] >= 0 && roi[0] < float(launch.images) && roi[3] >= roi[1] && roi[4] >= roi[2];
  if (!region.is_valid) return region;
  region.image = int32_t(roi[0]);
  region.level = level_of(roi + 1, launch.rule);
  const float scale = launch.levels[region.level].scale;
  region.y = span_of(roi[2], roi[4], scale, launch.aligned, launch.pooled_height, launch.sampling_ratio);
  region.x = span_of(roi[1], roi[3], scale, launch.aligned, launch.pooled_width, launch.sampling_ratio);
  return region;
}

// The samples of one axis: from a table in shared memory where they fit, computed when asked for where they don't.
struct Samples {
  const Sample<float>* table;
  Span<float> span;
  int32_t size;

  __device__ Sample<float> at(int32_t bin, int32_t number) const {
    return table != nullptr ? table[bin * span.samples + number] : sample_at(span, bin, number, size);
  }
};

__device__ Samples make_samples(const Span<float>& span, int32_t bins, int32_t size, Sample<float>* table) {
  const int64_t count = int64_t(bins) * span.samples;
  if (count > kTableSize) return {nullptr, span, size};
  for (int i = threadIdx.x; i < count; i += kThreads) table[i] = sample_at(span, i / span.samples, i % span.samples, size);
  return {table, span, size};
}

template <typename Stored>
__device__ int64_t plane_offset(const Launch<Stored>& launch, const Level<Stored>& level, int32_t image, int32_t channel) {
  const int64_t pixels = int64_t(level.height) * level.width;
  return level.channels_last ? image * pixels * launch.channels + channel : (int64_t(image) * launch.channels + channel) * pixels;
}

template <typename Stored>
__global__ void __launch_bounds__(kThreads) forward_kernel(const __grid_constant__ Launch<const Stored> launch, Stored* output) {
  __shared__ Sample<float> y_table[kTableSize], x_table[kTableSize];
  __shared__ float staged[kThreads / kChannels * kChannels * 2];
  const int64_t k = blockIdx.x;
  const int32_t first = blockIdx.y * kChannels;
  const int32_t channels = min(kChannels, launch.channels - first);
  const int32_t bins = launch.pooled_height * launch.pooled_width;
  Stored* target = output + (k * launch.channels + first) * bins;
  const Region region = region_of(launch, k);
  if (!region.is_valid) {
    for (int i = threadIdx.x; i < channels * bins; i += kThreads) narrow(0.0f, target + i);
    return;
  }
  const Level<const Stored> level = launch.levels[region.level];
  const Samples ys = make_samples(region.y, launch.pooled_height, level.height, y_table);
  const Samples xs = make_samples(region.x, launch.pooled_width, level.width, x_table);
  __syncthreads();
  const int64_t row_stride = level.channels_last ? int64_t(level.width) * launch.channels : level.width;
  const int64_t column_stride = level.channels_last ? launch.channels : 1;
  const float share = 1.0f / float(max(region.y.samples * region.x.samples, 1));

  const auto pooled = [&](int32_t channel, int32_t bin) {
    const Stored* plane = level.data + plane_offset(launch, level, region.image, first + channel);
    float sum = 0;
    for (int32_t iy = 0; iy < region.y.samples; ++iy) {
      const Sample<float> y = ys.at(bin / launch.pooled_width, iy);
      if (!y.is_inside) continue;
      const Stored* low = plane + y.low * row_stride;
      const Stored* high = plane + y.high * row_stride;
      for (int32_t ix = 0; ix < region.x.samples; ++ix) {
        const Sample<float> x = xs.at(bin % launch.pooled_width, ix);
        if (!x.is_inside) continue;
        const int64_t left = x.low * column_stride, right = x.high * column_stride;
        const float above = (1 - x.share_of_high) * widened(low[left]) + x.share_of_high * widened(low[right]);
        const float below = (1 - x.share_of_high) * widened(high[left]) + x.share_of_high * widened(high[right]);
        sum += (1 - y.share_of_high) * above + y.share_of_high * below;
      }
    }
    return sum * share;
  };

  if (!level.channels_last) {  // neighbouring threads take neighbouring bins: their pixels lie in the same rows
    for (int i = threadIdx.x; i < channels * bins; i += kThreads) narrow(pooled(i / bins, i % bins), target + i);
    return;
  }
  // Neighbouring threads take neighbouring channels, and the results are turned around in shared memory.
  constexpr int kRows = kThreads / kChannels;
  const int lane = threadIdx.x % kChannels, row = threadIdx.x / kChannels;
  for (int32_t begin = 0; begin < bins; begin += kRows) {
    if (lane < channels && begin + row < bins) staged[lane * (kRows + 1) + row] = pooled(lane, begin + row);
    __syncthreads();
    const int channel = threadIdx.x / kRows, bin = begin + threadIdx.x % kRows;
    if (channel < channels && bin < bins) narrow(staged[channel * (kRows + 1) + threadIdx.x % kRows], target + channel * bins + bin);
    __syncthreads();
  }
}

template <typename Stored>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const __grid_constant__ Launch<float> launch, const Stored* gradient) {
  __shared__ Sample<float> y_table[kTableSize], x_table[kTableSize];
  const int64_t k = blockIdx.x;
  const int32_t first = blockIdx.y * kChannels;
  const int32_t channels = min(kChannels, launch.channels - first);
  const int32_t bins = launch.pooled_height * launch.pooled_width;
  const Region region = region_of(launch, k);
  if (!region.is_valid) return;
  const Level<float> level = launch.levels[region.level];
  const Samples ys = make_samples(region.y, launch.pooled_height, level.height, y_table);
  const Samples xs = make_samples(region.x, launch.pooled_width, level.width, x_table);
  __syncthreads();
  const int64_t row_stride = level.channels_last ? int64_t(level.width) * launch.channels : level.width;
  const int64_t column_stride = level.channels_last ? launch.channels : 1;
  const float share = 1.0f / float(max(region.y.samples * region.x.samples, 1));
  const Stored* source = gradient + (k * launch.channels + first) * bins;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) {
    const int32_t channel = level.channels_last ? i % channels : i / bins;
    const int32_t bin = level.channels_last ? i / channels : i % bins;
    float* plane = level.data + plane_offset(launch, level, region.image, first + channel);
    const float incoming = widened(source[channel * bins + bin]) * share;
    for (int32_t iy = 0; iy < region.y.samples; ++iy) {
      const Sample<float> y = ys.at(bin / launch.pooled_width, iy);
      if (!y.is_inside) continue;
      for (int32_t ix = 0; ix < region.x.samples; ++ix) {
        const Sample<float> x = xs.at(bin % launch.pooled_width, ix);
        if (!x.is_inside) continue;
        float* low = plane + y.low * row_stride;
        float* high = plane + y.high * row_stride;
        const int64_t left = x.low * column_stride, right = x.high * column_stride;
        atomicAdd(low + left, incoming * (1 - y.share_of_high) * (1 - x.share_of_high));
        atomicAdd(low + right, incoming * (1 - y.share_of_high) * x.share_of_high);
        atomicAdd(high + left, incoming * y.share_of_high * (1 - x.share_of_high));
        atomicAdd(high + right, incoming * y.share_of_high * x.share_of_high);
      }
    }
  }
}

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
      const float share = 1.0f / float(max(region.y.samples * region.x.samples, 1));
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
