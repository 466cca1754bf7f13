// RoIAlign with more bins than the tables of axis.cuh hold: every sample by itself, as torchvision's kernels do it.
#pragma once

#include "roi_align_fpn/axis.cuh"
#include "roi_align_fpn/launch.cuh"

namespace spnas::roi_align_fpn {
namespace {

constexpr int kChannels = 32;    // of a thread block
constexpr int kTableSize = 128;  // samples of one axis that fit into the shared table

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
__global__ void __launch_bounds__(kThreads) forward_any(const __grid_constant__ Launch<const Stored> launch, Stored* output) {
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
  const float share = share_of(region);

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
    backward_any(const __grid_constant__ Launch<float> launch, const Stored* gradient) {
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
  const float share = share_of(region);
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

}  // namespace
}  // namespace spnas::roi_align_fpn
