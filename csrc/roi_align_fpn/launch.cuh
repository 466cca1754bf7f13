// What a launch is told, and one RoI as a thread block sees it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "roi_align_fpn/arithmetic.h"

namespace spnas::roi_align_fpn {
namespace {

constexpr int kMostLevels = 16;

__device__ inline float widened(float value) { return value; }
__device__ inline float widened(__half value) { return __half2float(value); }
__device__ inline float widened(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void narrow(float value, float* address) { *address = value; }
__device__ inline void narrow(float value, __half* address) { *address = __float2half_rn(value); }
__device__ inline void narrow(float value, __nv_bfloat16* address) { *address = __float2bfloat16_rn(value); }

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

// A sample's share of its bin.
__device__ inline float share_of(const Region& region) {
  return 1.0f / (float(max(region.y.samples, 1)) * float(max(region.x.samples, 1)));
}

template <typename Stored>
__device__ int64_t plane_offset(const Launch<Stored>& launch, const Level<Stored>& level, int32_t image, int32_t channel) {
  const int64_t pixels = int64_t(level.height) * level.width;
  return level.channels_last ? image * pixels * launch.channels + channel : (int64_t(image) * launch.channels + channel) * pixels;
}

}  // namespace
}  // namespace spnas::roi_align_fpn
