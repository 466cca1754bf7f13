#include "emulation/races.h"

namespace spnas::emulation {

void forget_accesses() {}
void note_barrier() {}
void note_meeting(int, unsigned) {}
void note_access(const void*, size_t, bool, bool, const void*) {}

}  // namespace spnas::emulation
