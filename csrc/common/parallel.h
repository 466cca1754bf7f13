// Work of uneven size over torch's threads: whoever is free takes the next piece.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#include "common/stable.h"

namespace spnas {

// Calls work(scratch, i) once for every i in [0, count), in no fixed order; the calling thread takes part. Each thread has a
// Scratch of its own, which ends with the call. What work throws first is thrown here: torch would lose its words.
template <typename Scratch, typename Work>
void for_each_piece_with(int64_t count, const Work& work) {
  if (count <= 0) return;
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), count);
  std::atomic<int64_t> next{0};
  std::atomic<bool> has_failed{false};
  std::exception_ptr failure;
  torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    try {
      Scratch scratch;
      // A range may hold several threads' shares, or a nested call run alone: taking until nothing is left serves all.
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) work(scratch, i);
    } catch (...) {
      if (!has_failed.exchange(true)) failure = std::current_exception();
      next = count;  // the others need not go on
    }
  });
  if (failure) std::rethrow_exception(failure);
}

// Calls work(i).
template <typename Work>
void for_each_piece(int64_t count, const Work& work) {
  struct Nothing {};
  for_each_piece_with<Nothing>(count, [&](Nothing&, int64_t i) { work(i); });
}

}  // namespace spnas
