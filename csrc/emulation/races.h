// Which accesses to memory nothing puts in order: a race detector for emulated kernels.
//
// Device code that is compiled with -fsanitize=thread tells of each access, and races.cpp, linked in place of
// ThreadSanitizer's runtime, remembers the last ones of every byte. Two accesses by different threads of a block are in
// order if the block's barrier, or a warp collective of both, lies between them; those of different blocks never are. At
// least one of two that are not must be no write, or both must be atomic.
//
// AddressSanitizer can't be had at the same time, so each operator is built twice; the other build links no_races.cpp.
#pragma once

#include <cstddef>

namespace spnas::emulation {

void forget_accesses();                     // a launch begins: all that was before is in order
void note_barrier();                        // all threads of the block have met
void note_meeting(int warp, unsigned mask);  // lanes of a warp have met
void note_access(const void* address, size_t size, bool writes, bool is_atomic, const void* place);

}  // namespace spnas::emulation
