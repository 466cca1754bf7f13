// RoIAlign of channels-last features: neighbouring lanes take neighbouring channels of one pixel, kPack of them each.
#pragma once

#include "roi_align_fpn/axis.cuh"
#include "roi_align_fpn/launch.cuh"

namespace spnas::roi_align_fpn {
namespace {

// Values that one access reads or writes.
template <typename Stored, int kPack>
struct alignas(sizeof(Stored) * kPack) Pack {
  Stored value[kPack];
};

template <int kPack>
__device__ void add_to_memory(float* address, const float (&values)[kPack]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  constexpr bool kAtOnce = kPack == 4;
#else
  constexpr bool kAtOnce = false;
#endif
  if constexpr (kAtOnce) {
    atomicAdd(reinterpret_cast<float4*>(address), make_float4(values[0], values[1], values[2], values[3]));
  } else {
    for (int i = 0; i < kPack; ++i) atomicAdd(address + i, values[i]);
  }
}

// Channels of a thread block, and the distance of two bins in its shared memory: 16 bytes more, to spread bins over banks.
template <int kPack>
struct Interleaved {
  static constexpr int32_t kChannels = 32 * kPack;
  static constexpr int32_t kStride = kChannels + (kPack == 1 ? 1 : 4);
  static constexpr int32_t kMostBins = kPack == 1 ? 256 : 64;
};

template <typename Stored, int kPack>
__global__ void __launch_bounds__(kThreads)
    forward_interleaved(const __grid_constant__ Launch<const Stored> launch, Stored* output) {
  using Layout = Interleaved<kPack>;
  __shared__ Axis y, x;
  __shared__ AxisScratch scratch;
  extern __shared__ float4 aligned_memory[];
  float* pooled = reinterpret_cast<float*>(aligned_memory);  // [bin][channel]
  const int32_t bins = launch.pooled_height * launch.pooled_width;
  const int32_t first = blockIdx.y * Layout::kChannels;
  const int32_t channels = min(Layout::kChannels, launch.channels - first);
  const int32_t warp = threadIdx.x / 32, channel = threadIdx.x % 32 * kPack;
  const int64_t k = blockIdx.x;
  const Region region = region_of(launch, k);
  if (region.is_valid && !launch.levels[region.level].channels_last) return;
  for (int i = threadIdx.x; i < bins * Layout::kStride; i += kThreads) pooled[i] = 0;
  if (region.is_valid) {
    const Level<const Stored> level = launch.levels[region.level];
    const Reach rows = reach_of(region.y, launch.pooled_height, level.height);
    const Reach across = reach_of(region.x, launch.pooled_width, level.width);
    const Stored* plane = level.data + plane_offset(launch, level, region.image, first + channel);
    for (int32_t top = rows.first; top <= rows.last;) {
      top = fill_axis(y, scratch, region.y, launch.pooled_height, level.height, level.width * launch.channels, top, rows.last);
      for (int32_t left = across.first; left <= across.last;) {
        left = fill_axis(x, scratch, region.x, launch.pooled_width, level.width, launch.channels, left, across.last);
        for (int32_t i = warp; i < bins && channel < channels; i += kWarps) {
          const int32_t bin_y = i / launch.pooled_width, bin_x = i % launch.pooled_width;
          float sums[kPack] = {};
          const Range rows_of = y.taps_of[bin_y], columns_of = x.taps_of[bin_x];
          for (int32_t row = rows_of.begin; row < rows_of.end; ++row) {
            const Stored* start = plane + y.tap[row].offset;
            float across_row[kPack] = {};
            for (int32_t column = columns_of.begin; column < columns_of.end; ++column) {
              const auto pixel = *reinterpret_cast<const Pack<Stored, kPack>*>(start + x.tap[column].offset);
              const float weight = x.weight[column][bin_x];
              for (int p = 0; p < kPack; ++p) across_row[p] += weight * widened(pixel.value[p]);
            }
            const float weight = y.weight[row][bin_y];
            for (int p = 0; p < kPack; ++p) sums[p] += weight * across_row[p];
          }
          for (int p = 0; p < kPack; ++p) pooled[i * Layout::kStride + channel + p] += sums[p];
        }
      }
    }
  }
  __syncthreads();
  Stored* target = output + (k * launch.channels + first) * bins;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) narrow(pooled[i % bins * Layout::kStride + i / bins], target + i);
}

template <typename Stored, int kPack>
__global__ void __launch_bounds__(kThreads)
    backward_interleaved(const __grid_constant__ Launch<float> launch, const Stored* gradient) {
  using Layout = Interleaved<kPack>;
  __shared__ Axis y, x;
  __shared__ AxisScratch scratch;
  extern __shared__ float4 aligned_memory[];
  float* pooled = reinterpret_cast<float*>(aligned_memory);  // [bin][channel]
  const int32_t bins = launch.pooled_height * launch.pooled_width;
  const int32_t first = blockIdx.y * Layout::kChannels;
  const int32_t channels = min(Layout::kChannels, launch.channels - first);
  const int32_t warp = threadIdx.x / 32, channel = threadIdx.x % 32 * kPack;
  const int64_t k = blockIdx.x;
  const Region region = region_of(launch, k);
  if (!region.is_valid || !launch.levels[region.level].channels_last) return;
  const Stored* source = gradient + (k * launch.channels + first) * bins;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) pooled[i % bins * Layout::kStride + i / bins] = widened(source[i]);
  const Level<float> level = launch.levels[region.level];
  const Reach rows = reach_of(region.y, launch.pooled_height, level.height);
  const Reach across = reach_of(region.x, launch.pooled_width, level.width);
  float* plane = level.data + plane_offset(launch, level, region.image, first + channel);
  for (int32_t top = rows.first; top <= rows.last;) {
    top = fill_axis(y, scratch, region.y, launch.pooled_height, level.height, level.width * launch.channels, top, rows.last);
    for (int32_t left = across.first; left <= across.last;) {
      left = fill_axis(x, scratch, region.x, launch.pooled_width, level.width, launch.channels, left, across.last);
      const int32_t columns = x.taps, count = y.taps * columns;
      for (int32_t i = warp; i < count && channel < channels; i += kWarps) {
        const int32_t row = i / columns, column = i % columns;
        const Tap down = y.tap[row], right = x.tap[column];
        float sums[kPack] = {};
        for (int32_t bin_y = down.bins.begin; bin_y < down.bins.end; ++bin_y) {
          float across_row[kPack] = {};
          for (int32_t bin_x = right.bins.begin; bin_x < right.bins.end; ++bin_x) {
            const float* bin = pooled + (bin_y * launch.pooled_width + bin_x) * Layout::kStride + channel;
            const auto incoming = *reinterpret_cast<const Pack<float, kPack>*>(bin);
            const float weight = x.weight[column][bin_x];
            for (int p = 0; p < kPack; ++p) across_row[p] += weight * incoming.value[p];
          }
          const float weight = y.weight[row][bin_y];
          for (int p = 0; p < kPack; ++p) sums[p] += weight * across_row[p];
        }
        add_to_memory<kPack>(plane + down.offset + right.offset, sums);
      }
    }
  }
}

}  // namespace
}  // namespace spnas::roi_align_fpn
