// Greedy suppression inside one group on the CPU, once per instruction set.
#pragma once

#include <stdint.h>

#include "common/isa.h"

namespace spnas {

namespace nms_grouped {

constexpr int kLanes = 8;       // kept boxes in one block
constexpr int kMaxAxis = 64;    // cells of the grid along x, and along y
constexpr int kBlockBytes(int item_size) { return 5 * kLanes * item_size + 64; }

// Blocks that a group of this many candidates may fill: what the cells begin, four copies of each box, and the boxes
// that are in no cell.
inline int64_t max_blocks(int64_t count) {
  const int64_t cells = count < kMaxAxis * kMaxAxis ? count : kMaxAxis * kMaxAxis;
  return cells + count / 2 + count / kLanes + 3;
}

// Bytes of scratch memory, aligned to 64.
inline int64_t workspace_bytes(int64_t count, int item_size) {
  return max_blocks(count) * kBlockBytes(item_size) + (kMaxAxis * kMaxAxis + 1) * 4 + 64;
}

}  // namespace nms_grouped

#define SPNAS_DECLARE(isa)                                                                                              \
  namespace isa {                                                                                                       \
  /* Goes through boxes[count][4], best first, and sets kept[i] to 1 for each that no kept one before it suppresses, to   \
     0 otherwise; stops at the limit. Returns how many were kept. Sound for thresholds of 0 and above. */               \
  int64_t suppress_floats(const float* boxes, int64_t count, double threshold, int64_t limit, void* workspace,           \
                          uint8_t* kept);                                                                              \
  int64_t suppress_doubles(const double* boxes, int64_t count, double threshold, int64_t limit, void* workspace,         \
                           uint8_t* kept);                                                                             \
  }
SPNAS_FOR_EACH_ISA(SPNAS_DECLARE)
#undef SPNAS_DECLARE

}  // namespace spnas
