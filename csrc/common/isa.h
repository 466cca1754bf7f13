// One source file per operator is compiled once per instruction set; the best one that the processor runs is chosen at load.
//
// Such a file ("kernel.cpp") puts its functions into the namespace SPNAS_ISA and includes neither torch's nor the
// standard library's templates: the linker would merge their instances, and could keep the one that the processor lacks.
#pragma once

#if defined(SPNAS_X86)
#define SPNAS_FOR_EACH_ISA(DECLARE) DECLARE(baseline) DECLARE(avx2) DECLARE(avx512)
#define SPNAS_SELECT(function)                                          \
  (::spnas::isa() == ::spnas::Isa::avx512 ? &::spnas::avx512::function  \
   : ::spnas::isa() == ::spnas::Isa::avx2 ? &::spnas::avx2::function    \
                                          : &::spnas::baseline::function)
#define SPNAS_SELECT_OVERLOAD(function, Pointer)                                                      \
  (::spnas::isa() == ::spnas::Isa::avx512 ? static_cast<Pointer>(&::spnas::avx512::function)         \
   : ::spnas::isa() == ::spnas::Isa::avx2 ? static_cast<Pointer>(&::spnas::avx2::function)           \
                                          : static_cast<Pointer>(&::spnas::baseline::function))
#else
#define SPNAS_FOR_EACH_ISA(DECLARE) DECLARE(baseline)
#define SPNAS_SELECT(function) (&::spnas::baseline::function)
#define SPNAS_SELECT_OVERLOAD(function, Pointer) static_cast<Pointer>(&::spnas::baseline::function)
#endif

namespace spnas {

enum class Isa { baseline, avx2, avx512 };

// The instruction set in use: the processor's best, or a lower one named by SPNAS_KERNELS_ISA.
Isa isa();

}  // namespace spnas
