// As assign_targets/cuda.cu launches it.
#include "emulation/cuda.h"
#include "emulation/scratch.h"

#include "assign_targets/device.cuh"

namespace spnas::assign_targets {

SPNAS_EMULATED_ENTRY void emulate_assign_targets(uint64_t seed, const float* boxes, const float* objects, const int64_t* labels,
                                                 int64_t images, int64_t count, int64_t objects_per_image, int shares_boxes,
                                                 double foreground, double background, int keeps_best, double ignored_overlap,
                                                 int64_t* rows) {
  emulation::seed_schedule(seed);
  const Shape shape{images, count, objects_per_image, shares_boxes ? 0 : count * 4};
  const Thresholds thresholds{at_least(foreground), at_least(background), at_least(ignored_overlap), keeps_best != 0};
  const Arguments arguments{boxes, objects, labels, shape};
  const dim3 grid(emulation::blocks_for(count, kThreads), unsigned(images));
  emulation::Scratch scratch;
  int* best_of_object = scratch.take<int>(images * objects_per_image + 1);
  if (keeps_best) {
    std::memset(best_of_object, 0, size_t(images * objects_per_image + 1) * sizeof(int));
    emulation::launch(raise_best, grid, kThreads, 0, arguments, best_of_object);
  }
  emulation::launch(assign, grid, kThreads, 0, arguments, best_of_object, thresholds, rows);
}

}  // namespace spnas::assign_targets
