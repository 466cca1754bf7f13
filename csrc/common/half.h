// float16 and bfloat16 as bits, to and from float. Without a branch and a loop, so that a row of them is widened or rounded
// in vectors; and without subnormal operands, so that a processor that flushes them gives the same.
#pragma once

#include <stdint.h>
#include <string.h>

#include "common/portable.h"

namespace spnas {

SPNAS_HD uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

SPNAS_HD float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

SPNAS_HD float half_to_float(uint16_t half) {
  const uint32_t magnitude = uint32_t(half & 0x7fffu) << 13, exponent = magnitude & 0x0f800000u;
  const uint32_t rebased = magnitude + (112u << 23);
  // A subnormal is what its digits add to the smallest normal number.
  const uint32_t subnormal = bits_of(float_of(rebased + (1u << 23)) - float_of(113u << 23));
  const uint32_t special = rebased + (112u << 23);
  const uint32_t value = exponent == 0 ? subnormal : exponent == 0x0f800000u ? special : rebased;
  return float_of(value | uint32_t(half & 0x8000u) << 16);
}

// Rounds to nearest, ties to even; not a number stays quiet.
SPNAS_HD uint16_t float_to_half(float value) {
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  // Adding one half makes the last digit of the sum that of a subnormal half: the addition rounds.
  const uint32_t subnormal = bits_of(float_of(magnitude < 0x38800000u ? magnitude : 0) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;  // 65520 and above round to infinity
  const uint32_t result = magnitude >= 0x477ff000u ? special : magnitude < 0x38800000u ? subnormal : normal;
  return uint16_t(result | ((bits >> 16) & 0x8000u));
}

SPNAS_HD float bfloat16_to_float(uint16_t bits) { return float_of(uint32_t(bits) << 16); }

SPNAS_HD uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = bits_of(value), rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

}  // namespace spnas
