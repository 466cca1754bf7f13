#include "common/stable.h"

STABLE_TORCH_LIBRARY_FRAGMENT(spnas, m) {
  m.def(
      "assign_targets(Tensor boxes, Tensor objects, Tensor labels, float foreground, float background, bool keeps_best, "
      "float ignored_overlap) -> Tensor");
}
