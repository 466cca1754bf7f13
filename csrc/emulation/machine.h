// A CUDA device as far as kernels can see it: blocks of threads that run one at a time, in an order that is drawn anew for
// every block, and meet at barriers and in warp collectives.
//
// What the order of threads decides on a GPU comes out differently here from case to case: warps, lanes and blocks are
// shuffled, atomics give way now and then, and shared memory holds garbage when a block begins. What CUDA leaves undefined
// ends the process with a line that says which threads did what: a barrier that some threads pass by, a collective whose
// mask names lanes that are not there, a shuffle from a lane outside of the mask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <tuple>

#include "emulation/types.h"

// Set before a thread goes on; kernels read them and nothing else may write them.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace spnas::emulation {

constexpr int kLanes = 32;
constexpr size_t kValueBytes = 16;
using Where = std::source_location;

// What a lane brings into a warp collective, and what it takes out: the values of all lanes of the mask.
struct Value {
  alignas(kValueBytes) unsigned char bytes[kValueBytes];
};
struct Values {
  unsigned mask;
  Value of[kLanes];
};

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// A thread's place in its block and its warp, -1 outside of kernels; the block's place in its grid.
int thread_number();
int lane_number();
uint32_t block_number();
bool is_shared_memory(const void* address);

// Waits for all threads of the block that have not returned; the second one counts those for which the predicate holds.
void wait_for_block(const Where& where);
int count_in_block(bool predicate, const Where& where);

// Waits for the lanes of the mask, which must bring the same mask to the same line; size 0 brings no value.
const Values& exchange(unsigned mask, const void* value, size_t size, const char* what, const Where& where);

// Lets other threads go first, now and then.
void give_way();

// Copies memory later, when the thread waits for it or ends: cp.async. Batches are numbered by commit_copies().
void copy_later(void* target, const void* source, size_t size, size_t zeros);
void commit_copies();
void wait_for_copies(size_t batches_left);

// The dynamic shared memory of the running block, of exactly as many bytes as its launch asked for.
void* dynamic_shared_memory(size_t alignment);

void seed_schedule(uint64_t seed);
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);

// kernel<<<grid, block, shared_bytes>>>(arguments...)
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Arguments... arguments) {
  const std::tuple<Arguments...> given(arguments...);  // by value, as a launch takes them
  run_grid(grid, block, shared_bytes, [&] { std::apply(kernel, given); });
}

// Overwrites memory with what nobody may rely on.
void fill_with_garbage(void* begin, size_t size);

}  // namespace spnas::emulation
