// Inner loops of the CPU's weight copy, once per instruction set.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace spnas {

#define SPNAS_DECLARE(isa)                                                                                              \
  namespace isa {                                                                                                       \
  /* As memcpy for pieces that are not read again soon: the destination is not fetched into the cache before it is        \
     overwritten. */                                                                                                   \
  void stream_bytes(char* destination, const char* source, int64_t bytes);                                              \
  /* destination[i * run + j] = source[map[i] * run + j] for items of 1, 2, 4, 8 or 16 bytes. */                        \
  void gather_runs(char* destination, const char* source, const int64_t* map, int64_t count, int64_t run,               \
                   int32_t item_size);                                                                                  \
  /* The same for float32, times scale[i * scale_step]; a null map is the identity. */                                  \
  void gather_scaled_floats(float* destination, const float* source, const int64_t* map, const double* scale,           \
                            int64_t scale_step, int64_t count, int64_t run);                                            \
  }
SPNAS_FOR_EACH_ISA(SPNAS_DECLARE)
#undef SPNAS_DECLARE

}  // namespace spnas
