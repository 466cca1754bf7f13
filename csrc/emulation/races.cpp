#include "emulation/races.h"

#include <dlfcn.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "emulation/machine.h"

namespace spnas::emulation {
namespace {

struct Access {
  uint64_t time = 0;  // 0: none
  const void* place = nullptr;
  uint32_t block = 0;
  int16_t thread = 0;
  bool is_atomic = false;
};

// Two readers tell of most conflicts with a write; all of them would take too much memory.
struct Byte {
  Access write, reads[2];
};

constexpr uintptr_t kPage = 1024;
struct Page {
  Byte bytes[kPage];
};

constexpr intptr_t kOwnStack = 256 << 10;
constexpr int kMostWarps = 32;

std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
uint64_t now = 1, barrier_time = 0;
uint64_t meeting_times[kMostWarps][kLanes][kLanes];

Byte& byte_at(uintptr_t address) {
  std::unique_ptr<Page>& page = pages[address / kPage];
  if (page == nullptr) page = std::make_unique<Page>();
  return page->bytes[address % kPage];
}

bool is_in_order(const Access& before, const Access& after, bool is_shared) {
  if (before.time == 0) return true;
  if (before.block != after.block) return is_shared;
  if (before.thread == after.thread || barrier_time > before.time) return true;
  const int warp = after.thread / kLanes;
  return before.thread / kLanes == warp &&
         meeting_times[warp][before.thread % kLanes][after.thread % kLanes] > before.time;
}

// As addr2line takes it.
std::string name_of(const void* place) {
  Dl_info info{};
  if (dladdr(place, &info) == 0) return "?";
  char text[32];
  std::snprintf(text, sizeof text, "+0x%zx", size_t(static_cast<const char*>(place) - static_cast<const char*>(info.dli_fbase)) - 1);
  return std::string(info.dli_fname) + text;
}

void check(const Access& before, const Access& after, bool was_write, bool writes, bool is_shared) {
  if (is_in_order(before, after, is_shared) || (before.is_atomic && after.is_atomic)) return;
  fail("race on %s memory: thread %d of block number %u %s at %s, then thread %d of block number %u %s at %s",
       is_shared ? "shared" : "global", before.thread, before.block, was_write ? "writes" : "reads", name_of(before.place).c_str(),
       after.thread, after.block, writes ? "writes" : "reads", name_of(after.place).c_str());
}

}  // namespace

void forget_accesses() { pages.clear(); }

void note_barrier() { barrier_time = ++now; }

void note_meeting(int warp, unsigned mask) {
  ++now;
  for (int a = 0; a < kLanes; ++a) {
    for (int b = 0; b < kLanes; ++b) {
      if ((mask >> a & 1) && (mask >> b & 1)) meeting_times[warp][a][b] = now;
    }
  }
}

void note_access(const void* address, size_t size, bool writes, bool is_atomic, const void* place) {
  if (thread_number() < 0) return;  // the host
  const intptr_t from_here = static_cast<const char*>(address) - static_cast<const char*>(__builtin_frame_address(0));
  if (-kOwnStack < from_here && from_here < kOwnStack) return;
  const bool is_shared = is_shared_memory(address);
  const Access access{++now, place, block_number(), int16_t(thread_number()), is_atomic};
  for (size_t i = 0; i < size; ++i) {
    Byte& byte = byte_at(reinterpret_cast<uintptr_t>(address) + i);
    check(byte.write, access, true, writes, is_shared);
    if (writes) {
      for (const Access& read : byte.reads) check(read, access, false, true, is_shared);
      byte.write = access;
      if (!is_atomic) byte.reads[0] = byte.reads[1] = {};
    } else {
      const bool is_other = byte.reads[0].thread != access.thread || byte.reads[0].block != access.block;
      if (is_other) byte.reads[1] = byte.reads[0];
      byte.reads[0] = access;
    }
  }
}

}  // namespace spnas::emulation

// What the compiler calls.
#define SPNAS_TOLD(name, size, writes)                                                                       \
  extern "C" void __tsan_##name(const void* address) {                                                       \
    spnas::emulation::note_access(address, size, writes, false, __builtin_return_address(0));                \
  }
#define SPNAS_TOLD_BOTH(suffix, size)  \
  SPNAS_TOLD(read##suffix, size, false) \
  SPNAS_TOLD(write##suffix, size, true)
#define SPNAS_TOLD_UNALIGNED(size)                 \
  SPNAS_TOLD(unaligned_read##size, size, false)    \
  SPNAS_TOLD(unaligned_write##size, size, true)
SPNAS_TOLD_BOTH(1, 1)
SPNAS_TOLD_BOTH(2, 2)
SPNAS_TOLD_BOTH(4, 4)
SPNAS_TOLD_BOTH(8, 8)
SPNAS_TOLD_BOTH(16, 16)
SPNAS_TOLD_UNALIGNED(2)
SPNAS_TOLD_UNALIGNED(4)
SPNAS_TOLD_UNALIGNED(8)
SPNAS_TOLD_UNALIGNED(16)
extern "C" {
void __tsan_read_range(const void* address, size_t size) {
  spnas::emulation::note_access(address, size, false, false, __builtin_return_address(0));
}
void __tsan_write_range(const void* address, size_t size) {
  spnas::emulation::note_access(address, size, true, false, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(const void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(const void*, const void*) {}
void __tsan_vptr_read(const void*) {}
}
