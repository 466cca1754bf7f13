#include "common/stable.h"

STABLE_TORCH_LIBRARY_FRAGMENT(spnas, m) {
  m.def(
      "copy_weights_(Tensor(a!)[] destinations, Tensor[] sources, Tensor?[] output_maps, Tensor?[] input_maps, "
      "Tensor?[] scales) -> ()");
  // A table on the device, and where its parts begin (plan.h: Layout).
  m.def(
      "copy_weights_prepare(Tensor[] destinations, Tensor[] sources, Tensor?[] output_maps, Tensor?[] input_maps, "
      "Tensor?[] scales) -> (Tensor, int[])");
  // Does what such a table says. It writes memory that no argument names, so it is no operator for compiled graphs.
  m.def("copy_weights_run_(Tensor(a!) table, int[] layout) -> ()");
}
