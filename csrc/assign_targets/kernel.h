// Overlaps of a block of boxes with the objects of one image, once per instruction set.
#pragma once

#include <stdint.h>

#include "common/isa.h"

namespace spnas {

namespace assign_targets {

constexpr int kBlock = 64;  // boxes that are treated together, coordinate by coordinate

// Objects and regions of one image, without padding.
struct Object {
  float x1, y1, x2, y2, area;
  int32_t row;
};

// What is found of the boxes of one block.
struct Found {
  float best[kBlock];       // greatest IoU
  int32_t row[kBlock];      // of which object
  float ignored[kBlock];    // largest share inside a region
  int32_t is_best[kBlock];  // whether some object has no better box
};

}  // namespace assign_targets

#define SPNAS_DECLARE(isa)                                                                                           \
  namespace isa {                                                                                                    \
  /* Raises best_of_object[g] to the greatest IoU of object g with boxes[count][4]. */                                \
  void raise_best(const float* boxes, int64_t count, const assign_targets::Object* objects, int64_t object_count,    \
                  float* best_of_object);                                                                            \
  /* Writes what is found of at most kBlock boxes; best_of_object may be null. */                                    \
  void find(const float* boxes, int64_t count, const assign_targets::Object* objects, int64_t object_count,          \
            const assign_targets::Object* regions, int64_t region_count, const float* best_of_object,                \
            assign_targets::Found* found);                                                                           \
  }
SPNAS_FOR_EACH_ISA(SPNAS_DECLARE)
#undef SPNAS_DECLARE

}  // namespace spnas
