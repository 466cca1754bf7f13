// As roi_align_fpn/cuda.cu launches it.
#include "emulation/cuda.h"
#include "emulation/scratch.h"

#include <algorithm>

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

dim3 grid_for(const Call& call, int32_t channels_of_block) {
  return dim3(unsigned(call.count), emulation::blocks_for(call.channels, channels_of_block));
}

bool has_format(const Call& call, bool channels_last) {
  return std::any_of(call.channels_last, call.channels_last + call.levels, [&](int32_t is) { return (is != 0) == channels_last; });
}

// Whether four channels can be read or written at once.
template <typename Stored>
bool takes_packs(const Call& call) {
  return call.pooled_height * call.pooled_width <= Interleaved<4>::kMostBins && call.channels % 4 == 0 &&
         std::all_of(call.data, call.data + call.levels,
                     [](void* data) { return reinterpret_cast<uintptr_t>(data) % (4 * sizeof(Stored)) == 0; });
}

// Runs one of the kernels for any size, or those for the formats that there are. Read is what levels hold.
template <typename Read, typename Target>
void launch_kernels(const Call& call, void (*any)(Launch<Read>, Target*), void (*planar)(Launch<Read>, Target*),
                    void (*interleaved)(Launch<Read>, Target*), void (*packed)(Launch<Read>, Target*)) {
  const Launch<Read> launch = make_launch<Read>(call);
  Target* target = static_cast<Target*>(call.pooled);
  const int32_t height = call.pooled_height, bins = height * call.pooled_width;
  if (height > kMostBins || call.pooled_width > kMostBins) {
    emulation::launch(any, grid_for(call, kChannels), kThreads, 0, launch, target);
    return;
  }
  if (has_format(call, false)) {
    emulation::launch(planar, grid_for(call, planar_channels(height, bins)), kThreads,
                      size_t(planar_floats(height, bins)) * sizeof(float), launch, target);
  }
  if (!has_format(call, true)) return;
  if (takes_packs<Read>(call)) {
    emulation::launch(packed, grid_for(call, Interleaved<4>::kChannels), kThreads,
                      size_t(bins * Interleaved<4>::kStride) * sizeof(float), launch, target);
  } else {
    emulation::launch(interleaved, grid_for(call, Interleaved<1>::kChannels), kThreads,
                      size_t(bins * Interleaved<1>::kStride) * sizeof(float), launch, target);
  }
}

template <typename Stored>
void forward(const Call& call) {
  launch_kernels(call, forward_any<Stored>, forward_planar<Stored>, forward_interleaved<Stored, 1>,
                         forward_interleaved<Stored, 4>);
}

template <typename Stored>
void backward(const Call& call) {
  launch_kernels(call, backward_any<Stored>, backward_planar<Stored>, backward_interleaved<Stored, 1>,
                         backward_interleaved<Stored, 4>);
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
