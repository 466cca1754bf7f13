#include "copy_weights/kernel.h"

#include <stdint.h>
#include <string.h>

#include "common/stream.h"

namespace spnas::SPNAS_ISA {
namespace {

struct Wide {
  uint64_t low, high;
};

template <typename Item>
void gather(Item* __restrict destination, const Item* __restrict source, const int64_t* __restrict map, int64_t count,
            int64_t run) {
  if (run == 1) {
    for (int64_t i = 0; i < count; ++i) destination[i] = source[map[i]];
  } else if (run == 9) {  // a 3x3 kernel
    for (int64_t i = 0; i < count; ++i) memcpy(destination + i * 9, source + map[i] * 9, 9 * sizeof(Item));
  } else {
    for (int64_t i = 0; i < count; ++i) memcpy(destination + i * run, source + map[i] * run, run * sizeof(Item));
  }
}

}  // namespace

void stream_bytes(char* __restrict destination, const char* __restrict source, int64_t bytes) {
  if (bytes < 4096) {
    memcpy(destination, source, bytes);
    return;
  }
  stream_copy(destination, source, bytes);
  finish_streams();
}

void gather_runs(char* destination, const char* source, const int64_t* map, int64_t count, int64_t run, int32_t item_size) {
  switch (item_size) {
    case 1: return gather((uint8_t*)destination, (const uint8_t*)source, map, count, run);
    case 2: return gather((uint16_t*)destination, (const uint16_t*)source, map, count, run);
    case 4: return gather((uint32_t*)destination, (const uint32_t*)source, map, count, run);
    case 8: return gather((uint64_t*)destination, (const uint64_t*)source, map, count, run);
    default: return gather((Wide*)destination, (const Wide*)source, map, count, run);
  }
}

void gather_scaled_floats(float* __restrict destination, const float* __restrict source, const int64_t* __restrict map,
                          const double* __restrict scale, int64_t scale_step, int64_t count, int64_t run) {
  if (run == 1 && map != nullptr) {
    for (int64_t i = 0; i < count; ++i) destination[i] = source[map[i]] * (float)scale[i * scale_step];
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float factor = (float)scale[i * scale_step];
    const float* from = source + (map == nullptr ? i : map[i]) * run;
    for (int64_t j = 0; j < run; ++j) destination[i * run + j] = from[j] * factor;
  }
}

}  // namespace spnas::SPNAS_ISA
