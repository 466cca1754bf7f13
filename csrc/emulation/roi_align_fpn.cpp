// As roi_align_fpn/cuda.cu launches it.
#include "emulation/cuda.h"
#include "emulation/scratch.h"

#include "roi_align_fpn/device.cuh"

namespace spnas::roi_align_fpn {

// The same fields in the same order as in the tests.
struct Call {
  uint64_t seed;
  int32_t levels;
  void* const* data;  // of each level: features, or sums of gradients in float
  const int32_t* heights;
  const int32_t* widths;
  const float* scales;
  const int32_t* channels_last;
  const float* rois;
  int64_t count;
  int32_t images, channels, pooled_height, pooled_width, sampling_ratio, aligned, first_level, canonical_level;
  double canonical_size;
  void* pooled;  // features, or their gradient
};

namespace {

template <typename Stored>
Launch<Stored> make_launch(const Call& call) {
  Launch<Stored> launch{};
  for (int32_t i = 0; i < call.levels; ++i) {
    launch.levels[i] = {static_cast<Stored*>(call.data[i]), call.heights[i], call.widths[i], call.scales[i],
                        call.channels_last[i] != 0};
  }
  launch.rule = {call.levels, call.first_level, call.canonical_level, call.canonical_size};
  launch.rois = call.rois;
  launch.images = call.images;
  launch.channels = call.channels;
  launch.pooled_height = call.pooled_height;
  launch.pooled_width = call.pooled_width;
  launch.sampling_ratio = call.sampling_ratio;
  launch.aligned = call.aligned != 0;
  return launch;
}

template <typename Stored>
void forward(const Call& call) {
  const dim3 grid(unsigned(call.count), emulation::blocks_for(call.channels, kChannels));
  emulation::launch(forward_kernel<Stored>, grid, kThreads, 0, make_launch<const Stored>(call), static_cast<Stored*>(call.pooled));
}

template <typename Stored>
void backward(const Call& call) {
  const dim3 grid(unsigned(call.count), emulation::blocks_for(call.channels, kChannels));
  emulation::launch(backward_kernel<Stored>, grid, kThreads, 0, make_launch<float>(call), static_cast<const Stored*>(call.pooled));
}

template <typename Stored>
void deterministic_backward(const Call& call) {
  const unsigned blocks = unsigned(call.images) * emulation::blocks_for(call.channels, kTileChannels);
  for (int32_t level = 0; level < call.levels; ++level) {
    const dim3 grid(emulation::blocks_for(call.heights[level], kTileSide) * emulation::blocks_for(call.widths[level], kTileSide), blocks);
    emulation::launch(deterministic_backward_kernel<Stored>, grid, kThreads, 0, make_launch<float>(call),
                      static_cast<const Stored*>(call.pooled), level, call.count);
  }
}

}  // namespace

#define SPNAS_ENTRY(pass, type, Stored)                                      \
  SPNAS_EMULATED_ENTRY void emulate_roi_align_##pass##_##type(const Call* call) { \
    emulation::seed_schedule(call->seed);                                    \
    pass<Stored>(*call);                                                     \
  }
#define SPNAS_ENTRIES(pass)                \
  SPNAS_ENTRY(pass, float32, float)        \
  SPNAS_ENTRY(pass, float16, __half)       \
  SPNAS_ENTRY(pass, bfloat16, __nv_bfloat16)
SPNAS_ENTRIES(forward)
SPNAS_ENTRIES(backward)
SPNAS_ENTRIES(deterministic_backward)

}  // namespace spnas::roi_align_fpn
