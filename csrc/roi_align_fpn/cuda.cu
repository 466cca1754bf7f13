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

template <typename Stored>
void launch_forward(const Tensors& features, const Tensor& rois, const Geometry& geometry, Tensor& output) {
  const int64_t channels = features[0].size(1);
  auto launch = make_launch<const Stored>(geometry, rois, channels);
  for (size_t i = 0; i < features.size(); ++i) {
    launch.levels[i].data = static_cast<const Stored*>(features[i].const_data_ptr());
    launch.levels[i].channels_last = is_channels_last(features[i]);
  }
  const dim3 grid(static_cast<unsigned>(rois.size(0)), static_cast<unsigned>((channels + kChannels - 1) / kChannels));
  forward_kernel<Stored><<<grid, kThreads, 0, current_stream(features[0])>>>(launch, static_cast<Stored*>(output.mutable_data_ptr()));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <typename Stored>
void launch_backward(const Tensor& gradient, const Tensor& rois, const Geometry& geometry, const Integers& channels_last,
                     bool deterministic, Tensors& sums) {
  const int64_t channels = gradient.size(1);
  auto launch = make_launch<float>(geometry, rois, channels);
  for (size_t i = 0; i < sums.size(); ++i) {
    launch.levels[i].data = sums[i].mutable_data_ptr<float>();
    launch.levels[i].channels_last = channels_last[i] != 0;
  }
  const Stored* incoming = static_cast<const Stored*>(gradient.const_data_ptr());
  const cudaStream_t stream = current_stream(gradient);
  if (!deterministic) {
    const dim3 grid(static_cast<unsigned>(rois.size(0)), static_cast<unsigned>((channels + kChannels - 1) / kChannels));
    backward_kernel<Stored><<<grid, kThreads, 0, stream>>>(launch, incoming);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    return;
  }
  const int64_t blocks = geometry.images * ((channels + kTileChannels - 1) / kTileChannels);
  require(blocks <= 65535, "the deterministic backward takes at most 65535 blocks of 8 channels over all images, not ", blocks);
  for (int32_t level = 0; level < geometry.rule.levels; ++level) {
    const int64_t tiles = ((geometry.heights[level] + kTileSide - 1) / kTileSide) * ((geometry.widths[level] + kTileSide - 1) / kTileSide);
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(blocks));
    deterministic_backward_kernel<Stored><<<grid, kThreads, 0, stream>>>(launch, incoming, level, rois.size(0));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
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
  Tensor output = torch::stable::new_empty(features[0], {rois.size(0), features[0].size(1), pooled_height, pooled_width});
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
    const auto format = channels_last[level] ? torch::headeronly::MemoryFormat::ChannelsLast : torch::headeronly::MemoryFormat::Contiguous;
    sums.push_back(torch::stable::empty({images, gradient.size(1), heights[level], widths[level]}, ScalarType::Float,
                                        torch::headeronly::Layout::Strided, gradient.device(), false, format));
    if (!deterministic || rois.size(0) == 0) torch::stable::zero_(sums.back());
    is_empty = is_empty && sums.back().numel() == 0;
  }
  if (!is_empty && gradient.numel() > 0) {
    switch (gradient.scalar_type()) {
      case ScalarType::Float: launch_backward<float>(gradient, rois, geometry, channels_last, deterministic, sums); break;
      case ScalarType::Half: launch_backward<__half>(gradient, rois, geometry, channels_last, deterministic, sums); break;
      case ScalarType::BFloat16: launch_backward<__nv_bfloat16>(gradient, rois, geometry, channels_last, deterministic, sums); break;
      default: refuse("the gradient must be float32, float16 or bfloat16 on CUDA");
    }
  }
  if (gradient.scalar_type() != ScalarType::Float) {
    for (Tensor& sum : sums) sum = torch::stable::to(sum, gradient.scalar_type());
  }
  return sums;
}

}  // namespace
}  // namespace spnas::roi_align_fpn

STABLE_TORCH_LIBRARY_IMPL(spnas, CUDA, m) {
  m.impl("roi_align_fpn", TORCH_BOX(&spnas::roi_align_fpn::roi_align_fpn_cuda));
  m.impl("roi_align_fpn_backward", TORCH_BOX(&spnas::roi_align_fpn::roi_align_fpn_backward_cuda));
}
