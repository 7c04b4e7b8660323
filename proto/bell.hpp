#pragma once

namespace nbdgw::proto {

/// How engines ask their shell to look at them: they ring where they make work that the shell cannot know of, so that
/// nobody has to remember who must be called after what. One bell may be rung by several engines. It belongs to the
/// shell, which is told once, and then not again before it listens again: to ring costs next to nothing.
///
/// While the shell looks, from hush() to listen(), the bell is silent: what it asks of its engines itself makes most
/// of the work. So it looks last of all whether something was left to be done.
class Bell {
 public:
  /// Takes note of it only: must not call the engine.
  using Listener = void (*)(void* shell) noexcept;

  /// One that nobody listens to, but those who ask rung().
  Bell() noexcept : Bell([](void*) noexcept {}, nullptr) {}
  Bell(Listener listener, void* shell) noexcept : listener_(listener), shell_(shell) {}
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  /// There is something to look at.
  void ring() noexcept {
    if (rung_) return;
    rung_ = true;
    listener_(shell_);
  }
  bool rung() const noexcept { return rung_; }

  /// The shell begins to look.
  void hush() noexcept { rung_ = true; }
  /// The shell has looked: it wants to hear of whatever comes from now on.
  void listen() noexcept { rung_ = false; }

 private:
  const Listener listener_;
  void* const shell_;
  bool rung_ = false;
};

/// An engine's end of a bell. Without one, as in a test without a shell, it rings nothing.
class BellPull {
 public:
  void ring() const noexcept {
    if (bell_ != nullptr) bell_->ring();
  }
  /// The bell must stay until another one, or null, comes in its place, or the engine is not called any more. What
  /// has come about before is to be looked at, too.
  void hang(Bell* bell) noexcept {
    bell_ = bell;
    ring();
  }

 private:
  Bell* bell_ = nullptr;
};

}  // namespace nbdgw::proto
