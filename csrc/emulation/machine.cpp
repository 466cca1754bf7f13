#include "emulation/machine.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "emulation/fiber.h"
#include "emulation/races.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Where the build puts all __shared__ variables (cuda.h); absent where there are none.
extern "C" unsigned char __start_spnas_shared[] __attribute__((weak, visibility("hidden")));
extern "C" unsigned char __stop_spnas_shared[] __attribute__((weak, visibility("hidden")));

namespace spnas::emulation {
namespace {

enum class State { ready, at_barrier, in_warp, returned };

struct Copy {
  void* target;
  const void* source;
  size_t size, zeros;
};

struct Thread {
  Fiber fiber;
  State state = State::returned;
  uint3 index;
  Where where;                 // it waits
  const char* what = nullptr;  // for what
  bool predicate = false;
  unsigned mask = 0;
  Value brought;
  Values taken;
  std::vector<std::vector<Copy>> batches;  // the last one is open
};

// xorshift64*
struct Random {
  uint64_t state = 1;

  uint32_t operator()(uint32_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return uint32_t(((state * 0x2545f4914f6cdd1du) >> 32) * below >> 32);
  }
};

constexpr unsigned kMostThreads = 1024;

Random random_below;
std::unique_ptr<Thread[]> threads;  // kMostThreads of them
int thread_count = 0;
int running = -1;
int true_predicates = 0;
const std::function<void()>* body = nullptr;
unsigned char* dynamic_memory = nullptr;
size_t dynamic_bytes = 0;

void wait_as(State state) {
  threads[running].state = state;
  Fiber::leave();
}

void live() {
  for (;;) {
    (*body)();
    commit_copies();
    wait_for_copies(0);
    wait_as(State::returned);
  }
}

bool is_alive(int number) { return number < thread_count && threads[number].state != State::returned; }

void run(int number) {
  Thread& thread = threads[number];
  running = number;
  threadIdx = thread.index;
  thread.fiber.resume();
  running = -1;
}

bool same_place(const Where& a, const Where& b) { return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0; }

const char* file_of(const Where& where) {
  const char* slash = std::strrchr(where.file_name(), '/');
  return slash != nullptr ? slash + 1 : where.file_name();
}

// Lets all lanes of one collective go on that are there; says whether there was one.
bool finish_collective(int warp) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const int number = warp * kLanes + lane;
    if (!is_alive(number) || threads[number].state != State::in_warp) continue;
    const Thread& first = threads[number];
    Values values;
    values.mask = first.mask;
    bool is_complete = true;
    for (int other = 0; other < kLanes && is_complete; ++other) {
      if (!(first.mask >> other & 1)) continue;
      const Thread& thread = threads[warp * kLanes + other];
      if (!is_alive(warp * kLanes + other)) {
        fail("%s at %s:%u: thread %d names lane %d in its mask %08x, which has returned or never was", first.what,
             file_of(first.where), first.where.line(), number, other, first.mask);
      }
      is_complete = thread.state == State::in_warp && thread.mask == first.mask && thread.what == first.what &&
                    same_place(thread.where, first.where);
      values.of[other] = thread.brought;
    }
    if (!is_complete) continue;
    note_meeting(warp, values.mask);
    for (int other = 0; other < kLanes; ++other) {
      if (!(values.mask >> other & 1)) continue;
      threads[warp * kLanes + other].taken = values;
      threads[warp * kLanes + other].state = State::ready;
    }
    return true;
  }
  return false;
}

bool run_warp(int warp) {
  for (bool progressed = false;; progressed = true) {
    const int turn = int(random_below(kLanes));
    for (int i = 0; i < kLanes; ++i) {
      const int number = warp * kLanes + (i ^ turn);
      if (!is_alive(number) || threads[number].state != State::ready) continue;
      run(number);
      progressed = true;
    }
    if (!finish_collective(warp)) return progressed;
    if (random_below(4) == 0) return true;  // its lanes go on when other warps have had their turn
  }
}

// Opens the barrier if all that live wait there.
bool open_barrier() {
  const Thread* first = nullptr;
  int true_ones = 0;
  for (int number = 0; number < thread_count; ++number) {
    const Thread& thread = threads[number];
    if (thread.state == State::returned) continue;
    if (thread.state != State::at_barrier) return false;
    if (first == nullptr) first = &thread;
    if (!same_place(thread.where, first->where)) {
      fail("divergent barrier: thread %d waits at %s:%u, thread %d at %s:%u", int(first - threads.get()), file_of(first->where),
           first->where.line(), number, file_of(thread.where), thread.where.line());
    }
    true_ones += thread.predicate;
  }
  if (first != nullptr) note_barrier();
  true_predicates = true_ones;
  for (int number = 0; number < thread_count; ++number) {
    if (threads[number].state == State::at_barrier) threads[number].state = State::ready;
  }
  return first != nullptr;
}

[[noreturn]] void report_deadlock() {
  const Thread *in_warp = nullptr, *other = nullptr;
  for (int number = 0; number < thread_count; ++number) {
    const Thread& thread = threads[number];
    if (thread.state == State::in_warp && in_warp == nullptr) in_warp = &thread;
  }
  const int first = int(in_warp - threads.get());
  for (int lane = 0; lane < kLanes; ++lane) {
    const Thread& thread = threads[first / kLanes * kLanes + lane];
    const bool is_beside = thread.state == State::in_warp && thread.mask == in_warp->mask &&
                           thread.what == in_warp->what && same_place(thread.where, in_warp->where);
    if ((in_warp->mask >> lane & 1) && !is_beside) other = &thread;
  }
  fail("deadlock: thread %d waits in %s at %s:%u with mask %08x, thread %d in %s at %s:%u with mask %08x", first, in_warp->what,
       file_of(in_warp->where), in_warp->where.line(), in_warp->mask, int(other - threads.get()), other->what,
       file_of(other->where), other->where.line(), other->mask);
}

void run_block() {
  std::vector<int> order((thread_count + kLanes - 1) / kLanes);
  std::iota(order.begin(), order.end(), 0);
  for (;;) {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_below(uint32_t(i))]);
    bool progressed = false;
    for (const int warp : order) progressed |= run_warp(warp);
    progressed |= open_barrier();
    if (progressed) continue;
    bool any_alive = false;
    for (int number = 0; number < thread_count; ++number) any_alive |= is_alive(number);
    if (!any_alive) return;
    report_deadlock();
  }
}

void start_threads() {
  for (int number = 0; number < thread_count; ++number) {
    Thread& thread = threads[number];
    if (!thread.fiber.exists()) thread.fiber.create(&live);
    const unsigned rest = unsigned(number) / blockDim.x;
    thread.index = {unsigned(number) % blockDim.x, rest % blockDim.y, rest / blockDim.y};
    thread.batches.assign(1, {});
    thread.state = State::ready;
  }
}

}  // namespace

void fail(const char* format, ...) {
  std::fputs("emulation: ", stderr);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, " (block %u, %u, %u)\n", blockIdx.x, blockIdx.y, blockIdx.z);
  std::fflush(nullptr);
  std::_Exit(3);
}

int thread_number() { return running; }
int lane_number() { return running % kLanes; }
uint32_t block_number() { return blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z); }

bool is_shared_memory(const void* address) {
  const auto* byte = static_cast<const unsigned char*>(address);
  return (byte >= __start_spnas_shared && byte < __stop_spnas_shared) ||
         (byte >= dynamic_memory && byte < dynamic_memory + dynamic_bytes);
}

void wait_for_block(const Where& where) { count_in_block(false, where); }

int count_in_block(bool predicate, const Where& where) {
  Thread& thread = threads[running];
  thread.where = where;
  thread.what = "__syncthreads";
  thread.mask = 0;
  thread.predicate = predicate;
  wait_as(State::at_barrier);
  return true_predicates;
}

const Values& exchange(unsigned mask, const void* value, size_t size, const char* what, const Where& where) {
  Thread& thread = threads[running];
  if (!(mask >> (running % kLanes) & 1)) {
    fail("%s at %s:%u: thread %d is not in its own mask %08x", what, file_of(where), where.line(), running, mask);
  }
  thread.where = where;
  thread.what = what;
  thread.mask = mask;
  std::memset(thread.brought.bytes, 0xee, kValueBytes);
  if (size > 0) std::memcpy(thread.brought.bytes, value, size);
  wait_as(State::in_warp);
  return thread.taken;
}

void give_way() {
  if (random_below(64) == 0) wait_as(State::ready);
}

void copy_later(void* target, const void* source, size_t size, size_t zeros) {
  fill_with_garbage(target, size);
  threads[running].batches.back().push_back({target, source, size, zeros});
}

void commit_copies() { threads[running].batches.emplace_back(); }

void wait_for_copies(size_t batches_left) {
  auto& batches = threads[running].batches;
  while (batches.size() > batches_left + 1) {
    for (const Copy& copy : batches.front()) {
      note_access(copy.source, copy.size - copy.zeros, false, false, __builtin_return_address(0));
      note_access(copy.target, copy.size, true, false, __builtin_return_address(0));
      std::memcpy(copy.target, copy.source, copy.size - copy.zeros);
      std::memset(static_cast<char*>(copy.target) + copy.size - copy.zeros, 0, copy.zeros);
    }
    batches.erase(batches.begin());
  }
}

void* dynamic_shared_memory(size_t alignment) {
  // CUDA promises 16 bytes, and so does malloc.
  if (alignment > 16) fail("dynamic shared memory is aligned to 16 bytes, not to %zu", alignment);
  return dynamic_memory;
}

void seed_schedule(uint64_t seed) { random_below.state = seed * 2 + 1; }

// Past AddressSanitizer: what lies between two variables is not ours, and is nobody's either.
__attribute__((no_sanitize("address"))) void fill_with_garbage(void* begin, size_t size) {
  volatile unsigned char* bytes = static_cast<unsigned char*>(begin);
  const bool is_nan = random_below(2) != 0;  // as a number; else anything
  for (size_t i = 0; i < size; ++i) bytes[i] = is_nan ? 0xff : static_cast<unsigned char>(random_below(256));
}

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread) {
  const uint64_t size = uint64_t(block.x) * block.y * block.z;
  if (size == 0 || size > kMostThreads) fail("a block has %llu threads: 1 to 1024 are possible", (unsigned long long)size);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) {
    fail("a grid of %u x %u x %u blocks is not possible", grid.x, grid.y, grid.z);
  }
  if (threads == nullptr) threads = std::make_unique<Thread[]>(kMostThreads);
  body = &thread;
  gridDim = grid;
  blockDim = block;
  thread_count = int(size);
  dynamic_bytes = shared_bytes;
  forget_accesses();
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  std::vector<uint32_t> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = blocks; i > 1; --i) std::swap(order[i - 1], order[random_below(uint32_t(i))]);
  for (const uint32_t number : order) {
    blockIdx = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
    fill_with_garbage(__start_spnas_shared, size_t(__stop_spnas_shared - __start_spnas_shared));
    dynamic_memory = static_cast<unsigned char*>(std::malloc(shared_bytes));
    fill_with_garbage(dynamic_memory, shared_bytes);
    start_threads();
    run_block();
    std::free(dynamic_memory);
  }
}

}  // namespace spnas::emulation
