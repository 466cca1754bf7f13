// Stores past the caches, for what is not read again soon: they need not fetch what they overwrite, and leave the caches to
// what is. The copies are for kernel.cpp files (common/isa.h), the fence for whoever knows which copy is the last.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(SPNAS_X86)
#include <immintrin.h>
#endif

namespace spnas {

#if defined(SPNAS_X86)
constexpr bool kStreams = true;
#else
constexpr bool kStreams = false;  // copies take the usual way
#endif

// Makes what this thread streamed visible to the others; once after many copies, for it waits for the memory.
static inline void finish_streams() {
#if defined(SPNAS_X86)
  _mm_sfence();
#endif
}

}  // namespace spnas

#if defined(SPNAS_ISA)
namespace spnas::SPNAS_ISA {
namespace {

constexpr int64_t kLine = 64;  // bytes

// From anywhere to the start of a line.
#if defined(__AVX512F__)
inline void stream_line(char* destination, const char* source) {
  _mm512_stream_si512((__m512i*)destination, _mm512_loadu_si512(source));
}
#elif defined(__AVX2__)
inline void stream_line(char* destination, const char* source) {
  const __m256i low = _mm256_loadu_si256((const __m256i*)source), high = _mm256_loadu_si256((const __m256i*)(source + 32));
  _mm256_stream_si256((__m256i*)destination, low);
  _mm256_stream_si256((__m256i*)(destination + 32), high);
}
#elif defined(SPNAS_X86)
inline void stream_line(char* destination, const char* source) {
  for (int part = 0; part < kLine; part += 16) {
    _mm_stream_si128((__m128i*)(destination + part), _mm_loadu_si128((const __m128i*)(source + part)));
  }
}
#else
inline void stream_line(char* destination, const char* source) { memcpy(destination, source, kLine); }
#endif

// Copies whole lines of the destination past the caches and what is left at its ends through them. Other threads see the
// lines after finish_streams().
inline void stream_copy(char* __restrict destination, const char* __restrict source, int64_t bytes) {
  if (!kStreams) {
    memcpy(destination, source, bytes);
    return;
  }
  const int64_t to_line = -(uintptr_t)destination & (kLine - 1), head = to_line < bytes ? to_line : bytes;
  memcpy(destination, source, head);
  int64_t i = head;
  for (; i + kLine <= bytes; i += kLine) stream_line(destination + i, source + i);
  memcpy(destination + i, source + i, bytes - i);
}

}  // namespace
}  // namespace spnas::SPNAS_ISA
#endif
