// What both devices check of an operator's arguments.
#pragma once

#include "common/stable.h"

namespace spnas::nms_grouped {

// images and boxes per image; the ragged form is one image.
struct Shape {
  int64_t images, count;
};

inline bool is_float(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Float || tensor.scalar_type() == ScalarType::Double;
}

inline Shape checked_shape(const Tensor& boxes, const Tensor& scores, const Tensor& groups, double threshold, int64_t dims) {
  require(boxes.dim() == dims + 1 && boxes.size(dims) == 4, "boxes must have ", dims + 1, " dimensions, the last of size 4");
  require(scores.dim() == dims && groups.dim() == dims, "scores and groups must have ", dims, " dimensions");
  for (int64_t dim = 0; dim < dims; ++dim) {
    require(scores.size(dim) == boxes.size(dim) && groups.size(dim) == boxes.size(dim), "there are ", boxes.size(dim),
            " boxes in dimension ", dim, ", ", scores.size(dim), " scores and ", groups.size(dim), " groups");
  }
  require_device(scores, "scores", boxes, "boxes");
  require_device(groups, "groups", boxes, "boxes");
  require(is_float(boxes) && is_float(scores), "boxes and scores must be float32 or float64");
  require(groups.scalar_type() == ScalarType::Long, "groups must be int64");
  require(threshold >= 0 && threshold <= 1, "iou_threshold must be in [0, 1], not ", threshold);
  require(boxes.numel() <= int64_t(1) << 31, "there are ", boxes.numel(), " coordinates: at most 2**31 are supported");
  if (dims == 1) return {1, boxes.size(0)};
  return {boxes.size(0), boxes.size(1)};
}

}  // namespace spnas::nms_grouped
