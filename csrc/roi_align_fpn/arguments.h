// The operator's arguments, read once for both devices.
#pragma once

#include "common/stable.h"
#include "roi_align_fpn/geometry.h"

namespace spnas::roi_align_fpn {

using Tensors = std::vector<Tensor>;
using Floats = std::vector<double>;
using Integers = std::vector<int64_t>;

// Dense NHWC memory under an NCHW shape; the stride of a dimension of size 1 means nothing. Where both hold (one channel,
// one pixel), planar is as good.
inline bool is_channels_last(const Tensor& tensor) {
  if (tensor.is_contiguous()) return false;
  int64_t span = 1;
  for (const int64_t dim : {1, 3, 2, 0}) {
    if (tensor.size(dim) != 1 && tensor.stride(dim) != span) return false;
    span *= tensor.size(dim);
  }
  return true;
}

inline Geometry make_geometry(int64_t images, const Integers& heights, const Integers& widths, const Floats& scales,
                              int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned,
                              int64_t first_level, int64_t canonical_level, double canonical_size) {
  require(!scales.empty() && scales.size() == heights.size() && scales.size() == widths.size(), "there must be one spatial scale "
          "for each of ", heights.size(), " levels, not ", scales.size());
  constexpr int64_t kMostBins = 1 << 20, kMostPixels = (int64_t(1) << 31) - 1;
  for (size_t level = 0; level < heights.size(); ++level) {
    require(images >= 0 && heights[level] >= 0 && widths[level] >= 0 && heights[level] <= kMostPixels &&
                widths[level] <= kMostPixels,
            "features[", level, "] can't hold ", images, " images of ", heights[level], " x ", widths[level], " pixels");
    require(heights[level] > 0 && widths[level] > 0, "features[", level, "] is empty, ", heights[level], " x ", widths[level],
            ": every level needs at least one pixel");
    require(scales[level] > 0 && std::isfinite(scales[level]), "spatial_scales[", level, "] is ", scales[level],
            ": it must be positive and finite");
  }
  require(std::abs(first_level) <= kMostBins && std::abs(canonical_level) <= kMostBins,
          "level numbers must be at most 2^20, not ", first_level, " and ", canonical_level);
  require(pooled_height > 0 && pooled_width > 0 && pooled_height <= kMostBins && pooled_width <= kMostBins &&
              pooled_height * pooled_width <= kMostBins,
          "the pooled size must be positive and have at most 2^20 bins, not ", pooled_height, " x ", pooled_width);
  require(canonical_size > 0, "the canonical size must be positive, not ", canonical_size);
  require(sampling_ratio <= kMostSamples, "the sampling ratio must be at most 2^20, not ", sampling_ratio);
  Geometry geometry;
  geometry.rule = {static_cast<int32_t>(scales.size()), static_cast<int32_t>(first_level),
                   static_cast<int32_t>(canonical_level), canonical_size};
  geometry.scales = scales;
  geometry.heights = heights;
  geometry.widths = widths;
  geometry.images = images;
  geometry.pooled_height = static_cast<int32_t>(pooled_height);
  geometry.pooled_width = static_cast<int32_t>(pooled_width);
  geometry.sampling_ratio = static_cast<int32_t>(std::max<int64_t>(sampling_ratio, 0));
  geometry.aligned = aligned;
  return geometry;
}

// Beside features, or beside the gradient of what was pooled from them.
inline void check_roi_tensor(const Tensor& values, const Tensor& rois) {
  require(rois.dim() == 2 && rois.size(1) == 5 && rois.is_contiguous(), "rois must be a contiguous Tensor[K, 5]");
  require(rois.size(0) < int64_t(1) << 31, "there are ", rois.size(0), " rois: at most 2^31 - 1 are supported");
  require_device(rois, "rois", values, "the features");
  const bool is_double = values.scalar_type() == ScalarType::Double;
  require(rois.scalar_type() == (is_double ? ScalarType::Double : ScalarType::Float), "rois must be float32, or float64 where "
          "the features are");
}

inline void check_gradient(const Tensor& gradient, const Tensor& rois, int64_t pooled_height, int64_t pooled_width,
                           size_t levels, size_t widths, size_t formats) {
  check_roi_tensor(gradient, rois);
  require(gradient.dim() == 4 && gradient.is_contiguous() && gradient.size(0) == rois.size(0) &&
              gradient.size(2) == pooled_height && gradient.size(3) == pooled_width,
          "the gradient must be a contiguous Tensor[K, C, pooled height, pooled width]");
  require(levels == widths && levels == formats, "heights, widths and channels_last must have one entry per level");
}

inline void check_features(const Tensors& features, const Tensor& rois) {
  require(!features.empty(), "there must be at least one level of features");
  for (size_t level = 0; level < features.size(); ++level) {
    const Tensor& feature = features[level];
    require(feature.dim() == 4, "features[", level, "] must have four dimensions, not ", feature.dim());
    require(feature.scalar_type() == features[0].scalar_type() && feature.device() == features[0].device() &&
                feature.size(0) == features[0].size(0) && feature.size(1) == features[0].size(1),
            "features[", level, "] differs from features[0] in dtype, device, images or channels");
    require(feature.is_contiguous() || is_channels_last(feature), "features[", level, "] must be contiguous or channels-last");
  }
  check_roi_tensor(features[0], rois);
}

}  // namespace spnas::roi_align_fpn
