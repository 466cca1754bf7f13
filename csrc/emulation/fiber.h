// One CUDA thread on the CPU: a stack of its own, entered and left by hand.
#pragma once

#include <cstddef>

namespace spnas::emulation {

// A fiber runs from resume() to the next leave(), and its function for ever: it must never return.
class Fiber {
 public:
  using Function = void (*)();

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  void create(Function function);
  bool exists() const { return memory_ != nullptr; }

  void resume();        // from outside
  static void leave();  // from inside, back to where it was resumed

 private:
  char* memory_ = nullptr;  // a page that must not be touched, then the stack
  void* context_ = nullptr;
};

}  // namespace spnas::emulation
