#include "emulation/fiber.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// By hand where we can: swapcontext makes two system calls, and AddressSanitizer's forgets what it knew of the stack.
#if defined(__x86_64__) && !defined(SPNAS_UCONTEXT)
#define SPNAS_OWN_SWITCH

extern "C" void spnas_switch_stack(void** left, void* entered);
asm(R"(
.text
.type spnas_switch_stack, @function
.hidden spnas_switch_stack
.globl spnas_switch_stack
spnas_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size spnas_switch_stack, .-spnas_switch_stack
)");
#endif

namespace spnas::emulation {
namespace {

constexpr size_t kStack = size_t(256) << 10;
constexpr size_t kGuard = size_t(64) << 10;  // of the largest pages that Linux uses

void** inside = nullptr;  // the running fiber's context
void* outside = nullptr;  // that of whoever resumed it
Fiber::Function starting = nullptr;
#if defined(__SANITIZE_ADDRESS__)
const void* outside_stack = nullptr;
size_t outside_size = 0;
#endif

void arrive_inside() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &outside_stack, &outside_size);
#endif
}

void first_entry() {
  arrive_inside();
  starting();
  std::fputs("a fiber returned\n", stderr);
  std::abort();
}

}  // namespace

Fiber::~Fiber() {
  if (memory_ != nullptr) munmap(memory_, kGuard + kStack);
#if !defined(SPNAS_OWN_SWITCH)
  delete static_cast<ucontext_t*>(context_);
#endif
}

void Fiber::create(Function function) {
  void* memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) {
    std::perror("no memory for a fiber's stack");
    std::abort();
  }
  memory_ = static_cast<char*>(memory);
  starting = function;
#if defined(SPNAS_OWN_SWITCH)
  void** top = reinterpret_cast<void**>(memory_ + kGuard + kStack);
  *--top = nullptr;  // where first_entry would return to; the stack is aligned as after a call
  *--top = reinterpret_cast<void*>(&first_entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  context_ = top;
#else
  ucontext_t* context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = memory_ + kGuard;
  context->uc_stack.ss_size = kStack;
  context->uc_link = nullptr;
  makecontext(context, &first_entry, 0);
  context_ = context;
#endif
}

void Fiber::resume() {
  inside = &context_;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, memory_ + kGuard, kStack);
#endif
#if defined(SPNAS_OWN_SWITCH)
  spnas_switch_stack(&outside, context_);
#else
  ucontext_t here;
  outside = &here;
  swapcontext(&here, static_cast<ucontext_t*>(context_));
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, outside_stack, outside_size);
#endif
#if defined(SPNAS_OWN_SWITCH)
  spnas_switch_stack(inside, outside);
#else
  swapcontext(static_cast<ucontext_t*>(*inside), static_cast<ucontext_t*>(outside));
#endif
  arrive_inside();
}

}  // namespace spnas::emulation
