#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

namespace runflat::sim {

/// A file of the `shared` folder, which lies in the checkout or in a folder around it; nothing on a
/// machine that has none.
[[nodiscard]] inline std::optional<std::filesystem::path> find_shared(std::string_view name) {
  const std::filesystem::path source_dir{RUNFLAT_SOURCE_DIR};
  for (auto folder = source_dir; folder.has_relative_path(); folder = folder.parent_path()) {
    const std::filesystem::path candidate = folder / "shared" / name;
    if (std::filesystem::exists(candidate)) {
      return candidate;
    }
  }
  return std::nullopt;
}

}  // namespace runflat::sim
