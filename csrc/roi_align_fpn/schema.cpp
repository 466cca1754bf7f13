#include "common/stable.h"

// The arguments behind rois are the same in both: what the level rule and the sampling need.
#define SPNAS_GEOMETRY                                                                                              \
  "float[] spatial_scales, int pooled_height, int pooled_width, int sampling_ratio, bool aligned, int first_level, " \
  "int canonical_level, float canonical_size"

STABLE_TORCH_LIBRARY_FRAGMENT(spnas, m) {
  m.def("roi_align_fpn(Tensor[] features, Tensor rois, " SPNAS_GEOMETRY ") -> Tensor");
  m.def(
      "roi_align_fpn_backward(Tensor gradient, Tensor rois, SymInt images, SymInt[] heights, SymInt[] widths, "
      "int[] channels_last, bool deterministic, " SPNAS_GEOMETRY ") -> Tensor[]");
}
