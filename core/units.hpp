#pragma once

#include <chrono>
#include <compare>

namespace runflat {

using Seconds = std::chrono::duration<double>;
using Hours = std::chrono::duration<double, std::ratio<3600>>;
using Days = std::chrono::duration<double, std::ratio<86400>>;

/// A physical quantity that adds to its own kind and scales by a number, and nothing else.
template <typename Tag>
struct Quantity {
  double value = 0.0;

  friend constexpr auto operator<=>(Quantity, Quantity) = default;
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return {a.value + b.value}; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return {a.value - b.value}; }
  friend constexpr Quantity operator*(Quantity a, double k) { return {a.value * k}; }
  friend constexpr Quantity operator*(double k, Quantity a) { return {a.value * k}; }
  friend constexpr Quantity operator/(Quantity a, double k) { return {a.value / k}; }
  friend constexpr double operator/(Quantity a, Quantity b) { return a.value / b.value; }
  constexpr Quantity& operator+=(Quantity other) {
    value += other.value;
    return *this;
  }
};

using Bytes = Quantity<struct BytesTag>;
using BytesPerSecond = Quantity<struct BytesPerSecondTag>;
using Flops = Quantity<struct FlopsTag>;
using FlopsPerSecond = Quantity<struct FlopsPerSecondTag>;
using Watts = Quantity<struct WattsTag>;

[[nodiscard]] constexpr Seconds operator/(Bytes amount, BytesPerSecond rate) {
  return Seconds{amount.value / rate.value};
}
[[nodiscard]] constexpr Seconds operator/(Flops amount, FlopsPerSecond rate) {
  return Seconds{amount.value / rate.value};
}

inline namespace literals {
constexpr Bytes operator""_B(unsigned long long n) {
  return {static_cast<double>(n)};
}
constexpr Bytes operator""_MB(unsigned long long n) {
  return {static_cast<double>(n) * 1e6};
}
constexpr Bytes operator""_GB(unsigned long long n) {
  return {static_cast<double>(n) * 1e9};
}
constexpr Bytes operator""_MiB(unsigned long long n) {
  return {static_cast<double>(n << 20U)};
}
constexpr Bytes operator""_GiB(unsigned long long n) {
  return {static_cast<double>(n << 30U)};
}
constexpr BytesPerSecond operator""_GBps(unsigned long long n) {
  return {static_cast<double>(n) * 1e9};
}
constexpr FlopsPerSecond operator""_TFLOPs(unsigned long long n) {
  return {static_cast<double>(n) * 1e12};
}
}  // namespace literals

}  // namespace runflat
