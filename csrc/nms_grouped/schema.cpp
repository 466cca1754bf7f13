#include "common/stable.h"

STABLE_TORCH_LIBRARY_FRAGMENT(spnas, m) {
  m.def("nms_grouped(Tensor boxes, Tensor scores, Tensor groups, float iou_threshold) -> Tensor");
  m.def(
      "nms_grouped_padded(Tensor boxes, Tensor scores, Tensor groups, float iou_threshold, SymInt max_keep) -> "
      "(Tensor, Tensor)");
}
