#include "common/stable.h"

STABLE_TORCH_LIBRARY_FRAGMENT(spnas, m) {
  m.def(
      "copy_weights_(Tensor(a!)[] destinations, Tensor[] sources, Tensor?[] output_maps, Tensor?[] input_maps, "
      "Tensor?[] scales) -> ()");
}
