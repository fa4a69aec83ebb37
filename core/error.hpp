#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace runflat {

/// A broken precondition: a bug in the caller or in us.
class InvalidArgument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Bad input by a person. The text names the file, the key path or row, and what was expected:
/// `small.toml: cluster.num_nodes: expected an integer of at least 1, found -3`.
/// Control characters are written as `\x0a`, so that it is always one line.
class ParseError : public std::runtime_error {
 public:
  ParseError(std::string_view file, std::string_view where, std::string_view what);
};

/// No plan can satisfy the request; `reason` is one sentence a person can act on.
struct Infeasible {
  std::string reason;
};

/// Thrown at the outer edge (the command, Python) when an `Infeasible` has nowhere else to go.
class InfeasibleError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Thrown at the outer edge of a run when peers were lost and nothing can go on without them.
class PeerLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws InvalidArgument with the place of the call unless `condition` holds.
void require(bool condition,
             std::string_view message,
             const char* file = __builtin_FILE(),
             int line = __builtin_LINE());

/// A value or the reason that there is none (std::expected is C++23).
template <typename T, typename E>
class Expected {
 public:
  Expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Expected(E error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  [[nodiscard]] const T& value() const& {
    require(has_value(), "Expected holds an error");
    return std::get<0>(state_);
  }
  [[nodiscard]] T&& value() && {
    require(has_value(), "Expected holds an error");
    return std::get<0>(std::move(state_));
  }
  [[nodiscard]] const E& error() const {
    require(!has_value(), "Expected holds a value");
    return std::get<1>(state_);
  }
  const T& operator*() const& { return value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, E> state_;
};

}  // namespace runflat
