#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace runflat::exec {

/// How a `.bin` file holds a token, with Megatron's codes in the `.idx` file. Its codes 6 and 7 are
/// floating point, which no token is.
enum class TokenType : std::uint8_t {
  uint8 = 1,
  int8 = 2,
  int16 = 3,
  int32 = 4,
  int64 = 5,
  uint16 = 8,
};

/// Numpy's name of the type, "" for what is not in the enumeration.
[[nodiscard]] constexpr std::string_view to_string(TokenType type) {
  switch (type) {
    case TokenType::uint8:
      return "uint8";
    case TokenType::int8:
      return "int8";
    case TokenType::int16:
      return "int16";
    case TokenType::int32:
      return "int32";
    case TokenType::int64:
      return "int64";
    case TokenType::uint16:
      return "uint16";
  }
  return "";
}

/// Bytes of a token.
[[nodiscard]] constexpr std::size_t token_size(TokenType type) {
  switch (type) {
    case TokenType::uint8:
    case TokenType::int8:
      return 1;
    case TokenType::int16:
    case TokenType::uint16:
      return 2;
    case TokenType::int32:
      return 4;
    case TokenType::int64:
      return 8;
  }
  return 0;
}

/// What Megatron's preprocessing writes for a vocabulary of this size.
[[nodiscard]] constexpr TokenType token_type_for(std::int64_t vocab_size) {
  return vocab_size < 65500 ? TokenType::uint16 : TokenType::int32;
}

/// Calls `run` with a value of the C++ type that holds such a token.
template <typename Run>
decltype(auto) with_token_type(TokenType type, Run&& run) {
  switch (type) {
    case TokenType::uint8:
      return run(std::uint8_t{});
    case TokenType::int8:
      return run(std::int8_t{});
    case TokenType::int16:
      return run(std::int16_t{});
    case TokenType::int32:
      return run(std::int32_t{});
    case TokenType::uint16:
      return run(std::uint16_t{});
    case TokenType::int64:
      break;
  }
  return run(std::int64_t{});
}

}  // namespace runflat::exec
