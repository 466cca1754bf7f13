// RoIAlign of NCHW features: neighbouring lanes take neighbouring columns of one channel.
//
// A column is pooled along y by one lane; then a row of such sums is pooled along x. The way back spreads a row of gradients
// along x, one column per lane, and adds whole rows of columns to memory.
#pragma once

#include "roi_align_fpn/axis.cuh"
#include "roi_align_fpn/launch.cuh"

namespace spnas::roi_align_fpn {
namespace {

// Shared memory beside the tables, in floats: `pooled` holds a block's channels, `columns` a bin row of each warp's lanes.
constexpr int kPlanarPooled = 4096;

__host__ __device__ inline int32_t planar_channels(int32_t bins) { return min(64, max(8, kPlanarPooled / bins / 8 * 8)); }

__host__ __device__ inline int32_t planar_floats(int32_t pooled_height, int32_t bins) {
  return planar_channels(bins) * bins + kThreads * pooled_height;
}

// As many lanes as a row of columns fills, so that narrow RoIs leave none idle.
__device__ inline int32_t lanes_for(int32_t columns) { return columns <= 8 ? 8 : columns <= 16 ? 16 : 32; }

// Where a thread works: on a column of every channel that is its group's.
struct Place {
  int32_t lanes;   // of a group
  int32_t groups;  // of the block
  int32_t group, column;
  int32_t first_lane;  // of the group, in its warp
};

__device__ inline Place place_for(int32_t columns) {
  const int32_t lanes = lanes_for(columns), thread = threadIdx.x;
  return {lanes, kThreads / lanes, thread / lanes, thread % lanes, thread % 32 / lanes * lanes};
}

template <typename Stored>
__global__ void __launch_bounds__(kThreads)
    forward_planar(const __grid_constant__ Launch<const Stored> launch, Stored* output) {
  __shared__ Axis y, x;
  __shared__ AxisScratch scratch;
  extern __shared__ float memory[];
  const int32_t bins = launch.pooled_height * launch.pooled_width;
  const int32_t first = blockIdx.y * planar_channels(bins);
  const int32_t channels = min(planar_channels(bins), launch.channels - first);
  float* pooled = memory;
  float* columns = memory + planar_channels(bins) * bins + threadIdx.x / 32 * 32 * launch.pooled_height;
  const int lane = threadIdx.x % 32;
  const int64_t k = blockIdx.x;
  const Region region = region_of(launch, k);
  if (region.is_valid && launch.levels[region.level].channels_last) return;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) pooled[i] = 0;
  if (region.is_valid) {
    const Level<const Stored> level = launch.levels[region.level];
    const Reach rows = reach_of(region.y, launch.pooled_height, level.height);
    const Reach across = reach_of(region.x, launch.pooled_width, level.width);
    const Stored* plane = level.data + plane_offset(launch, level, region.image, first);
    const int64_t pixels = int64_t(level.height) * level.width;
    for (int32_t top = rows.first; top <= rows.last;) {
      top = fill_axis(y, scratch, region.y, launch.pooled_height, level.height, top, rows.last);
      for (int32_t left = across.first; left <= across.last;) {
        left = fill_axis(x, scratch, region.x, launch.pooled_width, level.width, left, across.last);
        const Place place = place_for(x.taps);
        for (int32_t base = 0; base < channels; base += place.groups) {
          const int32_t channel = base + place.group;
          if (channel < channels && place.column < x.taps) {
            const Stored* column = plane + channel * pixels + x.pixel[place.column];
            for (int32_t bin = 0; bin < launch.pooled_height; ++bin) {
              float sum = 0;
              for (int32_t tap = y.tap_begin[bin]; tap < y.tap_end[bin]; ++tap) {
                sum += y.weight[tap][bin] * widened(__ldg(column + int64_t(y.pixel[tap]) * level.width));
              }
              columns[bin * 32 + lane] = sum;
            }
          }
          __syncwarp();
          for (int32_t i = place.column; channel < channels && i < bins; i += place.lanes) {
            const int32_t bin = i % launch.pooled_width;
            const float* row = columns + i / launch.pooled_width * 32 + place.first_lane;
            float sum = 0;
            for (int32_t tap = x.tap_begin[bin]; tap < x.tap_end[bin]; ++tap) sum += x.weight[tap][bin] * row[tap];
            pooled[channel * bins + i] += sum;
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
  const int32_t bins = launch.pooled_height * launch.pooled_width;
  const int32_t first = blockIdx.y * planar_channels(bins);
  const int32_t channels = min(planar_channels(bins), launch.channels - first);
  float* pooled = memory;
  float* columns = memory + planar_channels(bins) * bins + threadIdx.x / 32 * 32 * launch.pooled_height;
  const int lane = threadIdx.x % 32;
  const int64_t k = blockIdx.x;
  const Region region = region_of(launch, k);
  if (!region.is_valid || launch.levels[region.level].channels_last) return;
  const Stored* source = gradient + (k * launch.channels + first) * bins;
  for (int i = threadIdx.x; i < channels * bins; i += kThreads) pooled[i] = widened(source[i]);
  const Level<float> level = launch.levels[region.level];
  const Reach rows = reach_of(region.y, launch.pooled_height, level.height);
  const Reach across = reach_of(region.x, launch.pooled_width, level.width);
  float* plane = level.data + plane_offset(launch, level, region.image, first);
  const int64_t pixels = int64_t(level.height) * level.width;
  for (int32_t top = rows.first; top <= rows.last;) {
    top = fill_axis(y, scratch, region.y, launch.pooled_height, level.height, top, rows.last);
    for (int32_t left = across.first; left <= across.last;) {
      left = fill_axis(x, scratch, region.x, launch.pooled_width, level.width, left, across.last);
      const Place place = place_for(x.taps);
      if (place.column >= x.taps) continue;
      for (int32_t channel = place.group; channel < channels; channel += place.groups) {
        for (int32_t row = 0; row < launch.pooled_height; ++row) {
          const float* bin_row = pooled + channel * bins + row * launch.pooled_width;
          float sum = 0;
          for (int32_t bin = x.bin_begin[place.column]; bin < x.bin_end[place.column]; ++bin) {
            sum += x.weight[place.column][bin] * bin_row[bin];
          }
          columns[row * 32 + lane] = sum;  // read by this lane alone
        }
        float* column = plane + channel * pixels + x.pixel[place.column];
        for (int32_t tap = 0; tap < y.taps; ++tap) {
          float sum = 0;
          for (int32_t bin = y.bin_begin[tap]; bin < y.bin_end[tap]; ++bin) sum += y.weight[tap][bin] * columns[bin * 32 + lane];
          atomicAdd(column + int64_t(y.pixel[tap]) * level.width, sum);
        }
      }
    }
  }
}

}  // namespace
}  // namespace spnas::roi_align_fpn
