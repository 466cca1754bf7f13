// Small kernels that show what the emulated device does, and what it refuses. One check per run: machine_checks NAME
#include "emulation/cuda.h"
#include "emulation/scratch.h"

#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>

using spnas::emulation::launch;

namespace {

#define EXPECT(condition)                                                                \
  do {                                                                                   \
    if (!(condition)) spnas::emulation::fail("line %d: not %s", __LINE__, #condition); \
  } while (false)

// What goes well.

__global__ void sum_block(const int* values, int count, int* sum) {
  __shared__ int parts[8];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  int part = i < count ? values[i] : 0;
  for (int step = 16; step > 0; step /= 2) part += __shfl_down_sync(0xffffffffu, part, step);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = part;
  __syncthreads();
  if (threadIdx.x < 32) {
    part = threadIdx.x < 8 ? parts[threadIdx.x] : 0;
    part = __reduce_add_sync(0xffffffffu, part);
    if (threadIdx.x == 0) atomicAdd(sum, part);
  }
}

void sums_are_reduced() {
  spnas::emulation::Scratch scratch;
  int* values = scratch.take<int>(1000);
  for (int i = 0; i < 1000; ++i) values[i] = i;
  int sum = 0;
  launch(sum_block, 4, 256, 0, values, 1000, &sum);
  EXPECT(sum == 499500);
}

__global__ void collect(unsigned* results) {
  const unsigned lane = threadIdx.x, all = 0xffffffffu, low = 0x0000ffffu;
  EXPECT(__ballot_sync(all, lane % 2) == 0xaaaaaaaau);
  EXPECT(__any_sync(all, lane == 7) && !__all_sync(all, lane == 7) && __all_sync(all, lane < 32));
  EXPECT(__shfl_sync(all, lane * 2, 5) == 10);
  EXPECT(__shfl_sync(all, lane, 1, 8) == lane / 8 * 8 + 1);
  EXPECT(__shfl_xor_sync(all, double(lane), 3) == double(lane ^ 3));
  EXPECT(__shfl_up_sync(all, lane, 1, 16) == (lane % 16 == 0 ? lane : lane - 1));
  EXPECT(__shfl_down_sync(all, make_float4(lane, 0, 0, 1), 2).x == (lane > 29 ? lane : lane + 2));
  EXPECT(__match_any_sync(all, lane / 4) == 15u << lane / 4 * 4);
  EXPECT(__reduce_max_sync(all, int(lane) - 40) == -9 && __reduce_xor_sync(all, lane) == 0);
  if (lane < 16) results[lane] = __ballot_sync(low, lane > 3);  // half of the warp
  __syncwarp();
  EXPECT(__syncthreads_count(lane < 5) == 5 && __syncthreads_or(lane == 9) && !__syncthreads_and(lane == 9));
  EXPECT(__activemask() >> lane & 1);
}

void collectives_exchange() {
  unsigned results[16] = {};
  launch(collect, 3, 32, 0, results);
  for (const unsigned result : results) EXPECT(result == 0xfff0u);
}

__global__ void number_threads(int* seen) {
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  seen[block * 30 + thread] += 1;
}

void every_thread_of_three_dimensions_runs_once() {
  int seen[24 * 30] = {};
  launch(number_threads, dim3(2, 3, 4), dim3(5, 3, 2), 0, seen);
  for (const int count : seen) EXPECT(count == 1);
}

__global__ void leave_early(int* after) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  if (threadIdx.x == 0) *after = 1;
}

void who_has_returned_is_not_waited_for() {
  int after = 0;
  launch(leave_early, 1, 64, 0, &after);
  EXPECT(after == 1);
}

__global__ void copy_in_two_batches(const float4* source, float4* target) {
  __shared__ float4 staged[64];
  __pipeline_memcpy_async(&staged[threadIdx.x], source + threadIdx.x, 16);
  __pipeline_commit();
  __pipeline_memcpy_async(&staged[32 + threadIdx.x], source + 32 + threadIdx.x, 16, 12);
  __pipeline_commit();
  __pipeline_wait_prior(1);
  target[threadIdx.x] = staged[threadIdx.x];
  __pipeline_wait_prior(0);
  __syncthreads();
  target[32 + threadIdx.x] = staged[63 - threadIdx.x];
}

void asynchronous_copies_arrive() {
  float4 source[64], target[64];
  for (int i = 0; i < 64; ++i) source[i] = make_float4(i, i, i, i);
  launch(copy_in_two_batches, 1, 32, 0, static_cast<const float4*>(source), target);
  EXPECT(target[5].w == 5 && target[32].x == 63 && target[32].y == 0);
}

void halves_round_to_nearest_even() {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const __half half{uint16_t(bits)};
    const __nv_bfloat16 wide{uint16_t(bits)};
    const float one = __half2float(half), other = __bfloat162float(wide);
    if (one == one) EXPECT(__float2half_rn(one).bits == bits);
    if (other == other) EXPECT(__float2bfloat16_rn(other).bits == bits);
  }
  EXPECT(__half2float(__float2half_rn(2049.0f)) == 2048.0f && __half2float(__float2half_rn(2051.0f)) == 2052.0f);
  EXPECT(__half2float(__float2half_rn(65519.0f)) == 65504.0f && isinf(__half2float(__float2half_rn(65520.0f))));
  EXPECT(__bfloat162float(__float2bfloat16_rn(257.0f)) == 256.0f && __bfloat162float(__float2bfloat16_rn(259.0f)) == 260.0f);
  EXPECT(isnan(__half2float(__float2half_rn(NAN))) && isnan(__bfloat162float(__float2bfloat16_rn(NAN))));
}

__global__ void use_functions_of_one_thread() {
  EXPECT(__popc(0xf0fu) == 8 && __ffs(8) == 4 && __ffs(0) == 0 && __clz(1) == 31 && __clzll(0) == 64);
  EXPECT(__brev(1u) == 0x80000000u && __byte_perm(0x33221100u, 0x77665544u, 0x6420u) == 0x66442200u);
  EXPECT(__float2int_rd(-1.5f) == -2 && __float2int_rz(1e20f) == 2147483647 && __float2int_rn(NAN) == 0);
  EXPECT(min(1.0f, NAN) == 1.0f && max(-1, 2u) == 4294967295u && min(3, 2ll) == 2);
  EXPECT(__umulhi(0x80000000u, 6u) == 3u && __funnelshift_l(0x80000000u, 1u, 1u) == 3u);
  unsigned counter = 2;
  EXPECT(atomicInc(&counter, 2u) == 2 && counter == 0 && atomicCAS(&counter, 0u, 7u) == 0 && counter == 7);
}

void functions_of_one_thread_are_cudas() { launch(use_functions_of_one_thread, 1, 33, 0); }

// What is refused: each ends the process.

__global__ void diverge_at_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void diverge_at_collectives(int* out) {
  if (threadIdx.x < 8) {
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
  } else {
    __syncthreads();
  }
}

__global__ void name_returned_lanes() {
  if (threadIdx.x % 2) return;
  __syncwarp();
}

__global__ void read_outside_of_the_mask(int* out) {
  if (threadIdx.x < 8) out[threadIdx.x] = __shfl_sync(0xffu, 1, 8);
}

__global__ void leave_oneself_out() { __syncwarp(0xfffffffeu); }

__global__ void overflow_shared(int count) {
  __shared__ int values[32];
  int* first = values;
  first[count + threadIdx.x] = 1;
}

__global__ void overflow_dynamic() {
  SPNAS_DYNAMIC_SHARED(float, values);
  values[threadIdx.x + 1] = 1;
}

__global__ void overflow_own_array(int count, int* out) {
  int values[8];
  for (int& value : values) value = 1;
  __syncthreads();
  int* first = values;
  *out = first[count];
}

__global__ void misalign(float* values) { reinterpret_cast<float4*>(values + 1)->x = 0; }

__global__ void copy_without_waiting(const int* source, int* target) {
  __shared__ int staged[32];
  __pipeline_memcpy_async(&staged[threadIdx.x], source + threadIdx.x, 4);
  __pipeline_commit();
  target[threadIdx.x] = staged[threadIdx.x];
}

template <typename Value>
__global__ void trust_fresh_shared_memory(Value* out) {
  __shared__ Value value;
  *out = value;
}

__global__ void pass_on_without_a_barrier(int* out) {
  __shared__ int values[32];
  values[threadIdx.x] = 1;
  out[threadIdx.x] = values[31 - threadIdx.x];
}

// Runs a kernel that fills 32 integers with ones if its luck holds.
template <typename Kernel>
void expect_ones_every_time(const Kernel& kernel) {
  for (int time = 0; time < 20; ++time) {
    int out[32] = {};
    kernel(out);
    for (const int value : out) EXPECT(value == 1);
  }
}

}  // namespace

int main(int count, char** arguments) {
  const std::map<std::string, std::function<void()>> checks = {
      {"sums_are_reduced", sums_are_reduced},
      {"collectives_exchange", collectives_exchange},
      {"every_thread_of_three_dimensions_runs_once", every_thread_of_three_dimensions_runs_once},
      {"who_has_returned_is_not_waited_for", who_has_returned_is_not_waited_for},
      {"asynchronous_copies_arrive", asynchronous_copies_arrive},
      {"halves_round_to_nearest_even", halves_round_to_nearest_even},
      {"functions_of_one_thread_are_cudas", functions_of_one_thread_are_cudas},
      {"diverge_at_barriers", [] { launch(diverge_at_barriers, 1, 64, 0); }},
      {"diverge_at_collectives", [] { expect_ones_every_time([](int* out) { launch(diverge_at_collectives, 1, 32, 0, out); }); }},
      {"name_returned_lanes", [] { launch(name_returned_lanes, 1, 32, 0); }},
      {"read_outside_of_the_mask", [] { expect_ones_every_time([](int* out) { launch(read_outside_of_the_mask, 1, 32, 0, out); }); }},
      {"leave_oneself_out", [] { launch(leave_oneself_out, 1, 32, 0); }},
      {"overflow_shared", [] { launch(overflow_shared, 1, 32, 0, 1); }},
      {"overflow_dynamic", [] { launch(overflow_dynamic, 1, 32, 32 * sizeof(float)); }},
      {"overflow_own_array", [] { expect_ones_every_time([](int* out) { launch(overflow_own_array, 1, 32, 0, 8, out); }); }},
      {"misalign", [] { launch(misalign, 1, 1, 0, spnas::emulation::Scratch().take<float>(8)); }},
      {"copy_without_waiting",
       [] {
         expect_ones_every_time([](int* out) {
           int source[32];
           for (int& value : source) value = 1;
           launch(copy_without_waiting, 1, 32, 0, static_cast<const int*>(source), out);
         });
       }},
      {"trust_fresh_shared_memory",
       [] { expect_ones_every_time([](int* out) { for (int i = 0; i < 32; ++i) launch(trust_fresh_shared_memory<int>, 1, 1, 0, out + i); }); }},
      {"pass_on_without_a_barrier", [] { expect_ones_every_time([](int* out) { launch(pass_on_without_a_barrier, 1, 32, 0, out); }); }},
      {"too_many_threads", [] { launch(leave_oneself_out, 1, 1025, 0); }},
      {"no_blocks", [] { launch(leave_oneself_out, 0, 32, 0); }},
  };
  EXPECT(count == 2);
  spnas::emulation::seed_schedule(1);
  checks.at(arguments[1])();
  std::puts("passed");
}
