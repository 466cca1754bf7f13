// What both devices check of the operator's arguments, and the numbers that follow from them.
#pragma once

#include "assign_targets/arithmetic.h"
#include "common/stable.h"

namespace spnas::assign_targets {

inline Shape checked_shape(const Tensor& boxes, const Tensor& objects, const Tensor& labels) {
  require(objects.dim() == 3 && objects.size(2) == 4, "objects must have 3 dimensions, the last of size 4");
  require(labels.dim() == 2 && labels.size(0) == objects.size(0) && labels.size(1) == objects.size(1),
          "labels must have one entry for each object");
  const int64_t dims = boxes.dim();
  require((dims == 2 || dims == 3) && boxes.size(dims - 1) == 4, "boxes must have 2 or 3 dimensions, the last of size 4");
  require(dims == 2 || boxes.size(0) == objects.size(0), "there are boxes of ", dims == 2 ? 0 : boxes.size(0),
          " images and objects of ", objects.size(0));
  require_device(objects, "objects", boxes, "boxes");
  require_device(labels, "labels", boxes, "boxes");
  require(boxes.scalar_type() == ScalarType::Float && objects.scalar_type() == ScalarType::Float,
          "boxes and objects must be float32");
  require(labels.scalar_type() == ScalarType::Long, "labels must be int64");
  const int64_t count = boxes.size(dims - 2);
  require(count == 0 || objects.size(0) < (int64_t(1) << 31) / count, "there are 2**31 boxes or more");
  require(objects.size(1) < int64_t(1) << 31, "there are 2**31 objects or more in an image");
  return {objects.size(0), count, objects.size(1), dims == 2 ? 0 : count * 4};
}

inline Thresholds checked_thresholds(double foreground, double background, bool keeps_best, double ignored_overlap) {
  require(0 <= background && background <= foreground && foreground <= 1 && foreground > 0,
          "0 <= background <= foreground <= 1 and foreground > 0 must hold");
  require(ignored_overlap > 0 && ignored_overlap <= 1, "ignored_overlap must be in (0, 1]");
  return {at_least(foreground), at_least(background), at_least(ignored_overlap), keeps_best};
}

}  // namespace spnas::assign_targets
