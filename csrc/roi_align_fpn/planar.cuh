// RoIAlign of NCHW features: neighbouring lanes take neighbouring columns of one channel.
//
// A column is pooled along y by one lane; then a row of such sums is pooled along x. The way back spreads a row of gradients
// along x, one column per lane, and adds whole rows of columns to memory.
#pragma once

#include "roi_align_fpn/axis.cuh"
#include "roi_align_fpn/launch.cuh"

namespace spnas::roi_align_fpn {
namespace {

constexpr int kTogether = 2;        // channels of a group, which read a weight once
constexpr int kRowLength = 32 + 1;  // of a warp's sums: one more than its lanes, to spread rows over banks
constexpr int32_t kPlanarFloats = 10240;  // of shared memory beside the tables

// A row of sums for each bin row, channel of a group and warp …
__host__ __device__ inline int32_t sums_of_block(int32_t height) { return kWarps * kTogether * height * kRowLength; }

// … and bins of as many channels as have room.
__host__ __device__ inline int32_t planar_channels(int32_t height, int32_t bins) {
  return min(64, max(4, (kPlanarFloats - sums_of_block(height)) / bins / 4 * 4));
}

__host__ __device__ inline int32_t planar_floats(int32_t height, int32_t bins) {
  return planar_channels(height, bins) * bins + sums_of_block(height);
}

// Where a thread works: on one column, of the channels of its group.
struct Place {
  int32_t lanes;   // of a group: as many as the columns fill, so that narrow RoIs leave few idle
  int32_t groups;  // of the block
  int32_t group, column;
  int32_t first_lane;  // of the group, in its warp
};

__device__ inline Place place_for(int32_t columns) {
  const int32_t lanes = columns <= 8 ? 8 : columns <= 16 ? 16 : 32, thread = threadIdx.x;
  return {lanes, kThreads / lanes, thread / lanes, thread % lanes, thread % 32 / lanes * lanes};
}

template <typename Stored>
__global__ void __launch_bounds__(kThreads)
    forward_planar(const __grid_constant__ Launch<const Stored> launch, Stored* output) {
  __shared__ Axis y, x;
  __shared__ AxisScratch scratch;
  extern __shared__ float memory[];
  const int32_t height = launch.pooled_height, width = launch.pooled_width, bins = height * width;
  const int32_t first = blockIdx.y * planar_channels(height, bins);
  const int32_t channels = min(planar_channels(height, bins), launch.channels - first);
  float* pooled = memory;
  float* sums = memory + planar_channels(height, bins) * bins + threadIdx.x / 32 * kTogether * height * kRowLength;
  const int lane = threadIdx.x % 32;
  const int64_t k = blockIdx.x;
  const Region region = region_of(launch, k);
  if (region.is_valid && launch.levels[region.level].channels_last) return;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) pooled[i] = 0;
  if (region.is_valid) {
    const Level<const Stored> level = launch.levels[region.level];
    const Reach rows = reach_of(region.y, height, level.height), across = reach_of(region.x, width, level.width);
    const Stored* plane = level.data + plane_offset(launch, level, region.image, first);
    const int64_t pixels = int64_t(level.height) * level.width;
    for (int32_t top = rows.first; top <= rows.last;) {
      top = fill_axis(y, scratch, region.y, height, level.height, level.width, top, rows.last);
      for (int32_t left = across.first; left <= across.last;) {
        left = fill_axis(x, scratch, region.x, width, level.width, 1, left, across.last);
        const Place place = place_for(x.taps);
        for (int32_t base = 0; base < channels; base += place.groups * kTogether) {
          const int32_t channel = base + place.group * kTogether;
          const int32_t together = min(kTogether, channels - channel);  // none of them if it is not positive
          if (together > 0 && place.column < x.taps) {
            const Stored* one = plane + channel * pixels + x.tap[place.column].offset;
            const Stored* other = together > 1 ? one + pixels : one;
            for (int32_t row = 0; row < height; ++row) {
              const Range taps = y.taps_of[row];
              float sum = 0, other_sum = 0;
              for (int32_t tap = taps.begin; tap < taps.end; ++tap) {
                const float weight = y.weight[tap][row];
                const int32_t offset = y.tap[tap].offset;
                sum += weight * widened(__ldg(one + offset));
                other_sum += weight * widened(__ldg(other + offset));
              }
              sums[row * kRowLength + lane] = sum;
              sums[(height + row) * kRowLength + lane] = other_sum;
            }
          }
          __syncwarp();
          if (together > 0) {
            for (int32_t i = place.column; i < bins; i += place.lanes) {
              const int32_t row = i / width, column = i - row * width;
              const Range taps = x.taps_of[column];
              const float* row_sums = sums + row * kRowLength + place.first_lane;
              float sum = 0, other_sum = 0;
              for (int32_t tap = taps.begin; tap < taps.end; ++tap) {
                const float weight = x.weight[tap][column];
                sum += weight * row_sums[tap];
                other_sum += weight * row_sums[height * kRowLength + tap];
              }
              pooled[channel * bins + i] += sum;
              if (together > 1) pooled[(channel + 1) * bins + i] += other_sum;
            }
          }
          __syncwarp();
        }
      }
    }
  }
  __syncthreads();
  Stored* target = output + (k * launch.channels + first) * bins;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) narrow(pooled[i], target + i);
}

template <typename Stored>
__global__ void __launch_bounds__(kThreads)
    backward_planar(const __grid_constant__ Launch<float> launch, const Stored* gradient) {
  __shared__ Axis y, x;
  __shared__ AxisScratch scratch;
  extern __shared__ float memory[];
  const int32_t height = launch.pooled_height, width = launch.pooled_width, bins = height * width;
  const int32_t first = blockIdx.y * planar_channels(height, bins);
  const int32_t channels = min(planar_channels(height, bins), launch.channels - first);
  float* pooled = memory;
  float* sums = memory + planar_channels(height, bins) * bins + threadIdx.x / 32 * kTogether * height * kRowLength + threadIdx.x % 32;
  const int64_t k = blockIdx.x;
  const Region region = region_of(launch, k);
  if (!region.is_valid || launch.levels[region.level].channels_last) return;
  const Stored* source = gradient + (k * launch.channels + first) * bins;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) pooled[i] = widened(source[i]);
  const Level<float> level = launch.levels[region.level];
  const Reach rows = reach_of(region.y, height, level.height), across = reach_of(region.x, width, level.width);
  float* plane = level.data + plane_offset(launch, level, region.image, first);
  const int64_t pixels = int64_t(level.height) * level.width;
  for (int32_t top = rows.first; top <= rows.last;) {
    top = fill_axis(y, scratch, region.y, height, level.height, level.width, top, rows.last);
    for (int32_t left = across.first; left <= across.last;) {
      left = fill_axis(x, scratch, region.x, width, level.width, 1, left, across.last);
      const Place place = place_for(x.taps);
      if (place.column >= x.taps) continue;
      const Tap column = x.tap[place.column];
      for (int32_t channel = place.group * kTogether; channel < channels; channel += place.groups * kTogether) {
        const bool has_other = channel + 1 < channels;
        const float* one = pooled + channel * bins;
        const float* other = has_other ? one + bins : one;
        for (int32_t row = 0; row < height; ++row) {
          float sum = 0, other_sum = 0;
          for (int32_t bin = column.bins.begin; bin < column.bins.end; ++bin) {
            const float weight = x.weight[place.column][bin];
            sum += weight * one[row * width + bin];
            other_sum += weight * other[row * width + bin];
          }
          sums[row * kRowLength] = sum;  // read by this lane alone
          sums[(height + row) * kRowLength] = other_sum;
        }
        float* target = plane + channel * pixels + column.offset;
        for (int32_t tap = 0; tap < y.taps; ++tap) {
          const Tap row = y.tap[tap];
          float sum = 0, other_sum = 0;
          for (int32_t bin = row.bins.begin; bin < row.bins.end; ++bin) {
            const float weight = y.weight[tap][bin];
            sum += weight * sums[bin * kRowLength];
            other_sum += weight * sums[(height + bin) * kRowLength];
          }
          atomicAdd(target + row.offset, sum);
          if (has_other) atomicAdd(target + pixels + row.offset, other_sum);
        }
      }
    }
  }
}

}  // namespace
}  // namespace spnas::roi_align_fpn
