#include <algorithm>
#include <type_traits>

#include "common/allocation.h"
#include "common/cuda.h"
#include "roi_align_fpn/arguments.h"
#include "roi_align_fpn/device.cuh"

namespace spnas::roi_align_fpn {
namespace {

template <typename Stored>
Launch<Stored> make_launch(const Geometry& geometry, const Tensor& rois, int64_t channels) {
  require(geometry.rule.levels <= kMostLevels, "features have ", geometry.rule.levels, " levels: at most ", kMostLevels,
          " are supported on CUDA");
  Launch<Stored> launch{};
  launch.rule = geometry.rule;
  launch.rois = rois.const_data_ptr<float>();
  launch.images = static_cast<int32_t>(geometry.images);
  launch.channels = static_cast<int32_t>(channels);
  launch.pooled_height = geometry.pooled_height;
  launch.pooled_width = geometry.pooled_width;
  launch.sampling_ratio = geometry.sampling_ratio;
  launch.aligned = geometry.aligned;
  for (int32_t i = 0; i < geometry.rule.levels; ++i) {
    launch.levels[i].height = static_cast<int32_t>(geometry.heights[i]);
    launch.levels[i].width = static_cast<int32_t>(geometry.widths[i]);
    launch.levels[i].scale = static_cast<float>(geometry.scales[i]);
  }
  return launch;
}

dim3 grid_for(int64_t rois, int64_t channels, int32_t of_block) {
  return dim3(static_cast<unsigned>(rois), static_cast<unsigned>((channels + of_block - 1) / of_block));
}

// Whether the tables of axis.cuh hold the bins of an axis, and their offsets reach all elements of an image.
bool fits_tables(const Geometry& geometry, int64_t channels) {
  bool reaches = true;
  for (size_t level = 0; level < geometry.heights.size(); ++level) {
    reaches = reaches && geometry.heights[level] * geometry.widths[level] < (int64_t(1) << 31) / channels;
  }
  return reaches && geometry.pooled_height <= kMostBins && geometry.pooled_width <= kMostBins;
}

// Whether levels in one memory format exist; each kernel leaves the other's RoIs alone.
template <typename Stored>
bool has_format(const Launch<Stored>& launch, bool channels_last) {
  return std::any_of(launch.levels, launch.levels + launch.rule.levels,
                     [&](const Level<Stored>& level) { return level.channels_last == channels_last; });
}

// Whether four channels can be read or written at once.
template <typename Stored>
bool takes_packs(const Launch<Stored>& launch, int32_t bins) {
  return bins <= Interleaved<4>::kMostBins && launch.channels % 4 == 0 &&
         std::all_of(launch.levels, launch.levels + launch.rule.levels, [](const Level<Stored>& level) {
           return reinterpret_cast<uintptr_t>(level.data) % (4 * sizeof(Stored)) == 0;
         });
}

// Calls what launches the kernels that a pyramid needs: `interleaved` with the channels of a pack.
template <typename Stored, typename AnySize, typename Planar, typename Packed>
void launch_by_format(const Launch<Stored>& launch, const Geometry& geometry, const AnySize& any_size, const Planar& planar,
                      const Packed& interleaved) {
  if (!fits_tables(geometry, launch.channels)) return any_size();
  if (has_format(launch, false)) planar();
  if (!has_format(launch, true)) return;
  if (takes_packs(launch, geometry.bins())) {
    interleaved(std::integral_constant<int, 4>());
  } else {
    interleaved(std::integral_constant<int, 1>());
  }
}

template <typename Stored>
void launch_forward(const Tensors& features, const Tensor& rois, const Geometry& geometry, Tensor& output) {
  const int64_t channels = features[0].size(1), count = rois.size(0);
  auto launch = make_launch<const Stored>(geometry, rois, channels);
  for (size_t i = 0; i < features.size(); ++i) {
    launch.levels[i].data = static_cast<const Stored*>(features[i].const_data_ptr());
    launch.levels[i].channels_last = is_channels_last(features[i]);
  }
  const cudaStream_t stream = current_stream(features[0]);
  const int32_t bins = geometry.bins();
  Stored* target = static_cast<Stored*>(output.mutable_data_ptr());
  const auto interleaved = [&](auto pack) {
    using Layout = Interleaved<pack()>;
    forward_interleaved<Stored, pack()><<<grid_for(count, channels, Layout::kChannels), kThreads,
                                          bins * Layout::kStride * sizeof(float), stream>>>(launch, target);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  };
  const auto any_size = [&] {
    forward_any<Stored><<<grid_for(count, channels, kChannels), kThreads, 0, stream>>>(launch, target);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  };
  const auto planar = [&] {
    forward_planar<Stored><<<grid_for(count, channels, planar_channels(geometry.pooled_height, bins)), kThreads,
                             planar_floats(geometry.pooled_height, bins) * sizeof(float), stream>>>(launch, target);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  };
  launch_by_format(launch, geometry, any_size, planar, interleaved);
}

template <typename Stored>
void launch_backward(const Launch<float>& launch, const Stored* incoming, int64_t rois, const Geometry& geometry, cudaStream_t stream) {
  const int32_t bins = geometry.bins();
  const auto interleaved = [&](auto pack) {
    using Layout = Interleaved<pack()>;
    backward_interleaved<Stored, pack()><<<grid_for(rois, launch.channels, Layout::kChannels), kThreads,
                                           bins * Layout::kStride * sizeof(float), stream>>>(launch, incoming);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  };
  const auto any_size = [&] {
    backward_any<Stored><<<grid_for(rois, launch.channels, kChannels), kThreads, 0, stream>>>(launch, incoming);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  };
  const auto planar = [&] {
    backward_planar<Stored><<<grid_for(rois, launch.channels, planar_channels(geometry.pooled_height, bins)), kThreads,
                              planar_floats(geometry.pooled_height, bins) * sizeof(float), stream>>>(launch, incoming);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  };
  launch_by_format(launch, geometry, any_size, planar, interleaved);
}

template <typename Stored>
void launch_deterministic_backward(const Launch<float>& launch, const Stored* incoming, int64_t rois, const Geometry& geometry,
                                   cudaStream_t stream) {
  const int64_t blocks = geometry.images * ((launch.channels + kTileChannels - 1) / kTileChannels);
  require(blocks <= 65535, "the deterministic backward takes at most 65535 blocks of 8 channels over all images, not ", blocks);
  for (int32_t level = 0; level < geometry.rule.levels; ++level) {
    const int64_t tiles = ((geometry.heights[level] + kTileSide - 1) / kTileSide) * ((geometry.widths[level] + kTileSide - 1) / kTileSide);
    if (tiles == 0) continue;
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(blocks));
    deterministic_backward_kernel<Stored><<<grid, kThreads, 0, stream>>>(launch, incoming, level, rois);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

template <typename Stored>
void spread(const Tensor& gradient, const Tensor& rois, const Geometry& geometry, const Integers& channels_last,
            bool deterministic, Tensors& sums) {
  auto launch = make_launch<float>(geometry, rois, gradient.size(1));
  for (size_t i = 0; i < sums.size(); ++i) {
    launch.levels[i].data = sums[i].mutable_data_ptr<float>();
    launch.levels[i].channels_last = channels_last[i] != 0;
  }
  const Stored* incoming = static_cast<const Stored*>(gradient.const_data_ptr());
  const auto run = deterministic ? launch_deterministic_backward<Stored> : launch_backward<Stored>;
  run(launch, incoming, rois.size(0), geometry, current_stream(gradient));
}

Tensor roi_align_fpn_cuda(Tensors features, Tensor rois, Floats spatial_scales, int64_t pooled_height, int64_t pooled_width,
                          int64_t sampling_ratio, bool aligned, int64_t first_level, int64_t canonical_level,
                          double canonical_size) {
  check_features(features, rois);
  Integers heights, widths;
  for (const Tensor& feature : features) {
    heights.push_back(feature.size(2));
    widths.push_back(feature.size(3));
  }
  const Geometry geometry = make_geometry(features[0].size(0), heights, widths, spatial_scales, pooled_height, pooled_width,
                                          sampling_ratio, aligned, first_level, canonical_level, canonical_size);
  const torch::stable::accelerator::DeviceGuard guard(features[0].get_device_index());
  Tensor output = new_tensor(features[0], {rois.size(0), features[0].size(1), pooled_height, pooled_width});
  if (output.numel() == 0) return output;
  switch (features[0].scalar_type()) {
    case ScalarType::Float: launch_forward<float>(features, rois, geometry, output); break;
    case ScalarType::Half: launch_forward<__half>(features, rois, geometry, output); break;
    case ScalarType::BFloat16: launch_forward<__nv_bfloat16>(features, rois, geometry, output); break;
    default: refuse("features must be float32, float16 or bfloat16 on CUDA");
  }
  return output;
}

Tensors roi_align_fpn_backward_cuda(Tensor gradient, Tensor rois, int64_t images, Integers heights, Integers widths,
                                    Integers channels_last, bool deterministic, Floats spatial_scales, int64_t pooled_height,
                                    int64_t pooled_width, int64_t sampling_ratio, bool aligned, int64_t first_level,
                                    int64_t canonical_level, double canonical_size) {
  const Geometry geometry = make_geometry(images, heights, widths, spatial_scales, pooled_height, pooled_width, sampling_ratio,
                                          aligned, first_level, canonical_level, canonical_size);
  check_gradient(gradient, rois, pooled_height, pooled_width, heights.size(), widths.size(), channels_last.size());
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensors sums;  // in single precision, whatever the gradient's type
  bool is_empty = true;
  for (size_t level = 0; level < heights.size(); ++level) {
    sums.push_back(new_tensor(gradient, {images, gradient.size(1), heights[level], widths[level]}, ScalarType::Float,
                              channels_last[level] ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous));
    if (!deterministic || rois.size(0) == 0) torch::stable::zero_(sums.back());
    is_empty = is_empty && sums.back().numel() == 0;
  }
  if (!is_empty && gradient.numel() > 0) {
    switch (gradient.scalar_type()) {
      case ScalarType::Float: spread<float>(gradient, rois, geometry, channels_last, deterministic, sums); break;
      case ScalarType::Half: spread<__half>(gradient, rois, geometry, channels_last, deterministic, sums); break;
      case ScalarType::BFloat16: spread<__nv_bfloat16>(gradient, rois, geometry, channels_last, deterministic, sums); break;
      default: refuse("the gradient must be float32, float16 or bfloat16 on CUDA");
    }
  }
  if (gradient.scalar_type() != ScalarType::Float) {
    for (Tensor& sum : sums) sum = converted(sum, gradient.scalar_type());
  }
  return sums;
}

}  // namespace
}  // namespace spnas::roi_align_fpn

STABLE_TORCH_LIBRARY_IMPL(spnas, CUDA, m) {
  m.impl("roi_align_fpn", TORCH_BOX(&spnas::roi_align_fpn::roi_align_fpn_cuda));
  m.impl("roi_align_fpn_backward", TORCH_BOX(&spnas::roi_align_fpn::roi_align_fpn_backward_cuda));
}
