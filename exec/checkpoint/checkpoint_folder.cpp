#include "exec/checkpoint/checkpoint_folder.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/checkpoint/checkpoint_part.hpp"
#include "exec/files/new_file.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <stdio.h>  // renameat2
#include <system_error>
#include <unistd.h>
#include <vector>

namespace runflat::exec {
namespace {

constexpr std::string_view kStep = "step_";
constexpr const char* kLatest = "latest";
constexpr const char* kIndex = "index.json";

std::string step_name(std::int64_t step) {
  return fmt::format("{}{:08}", kStep, step);
}

std::optional<std::int64_t> step_of(const std::filesystem::path& folder) {
  const std::string name = folder.filename().string();
  std::int64_t step = 0;
  if (!name.starts_with(kStep)) {
    return std::nullopt;
  }
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + kStep.size(), end, step);
  return result.ec == std::errc() && result.ptr == end ? std::optional(step) : std::nullopt;
}

/// A folder's entries survive a power failure once it is synced; some file systems sync none.
void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
}

/// Gives `from` the name `to`. A checkpoint of that name, of a run that was taken back, changes
/// places with it, so that at any moment there is one.
void replace(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    return;
  }
  if (errno != ENOENT) {  // a file system that cannot exchange
    std::filesystem::path aside = from;
    aside += ".old";
    std::error_code ignored;  // nothing to move aside is the common case
    std::filesystem::rename(to, aside, ignored);
  }
  std::filesystem::rename(from, to);
}

}  // namespace

std::filesystem::path CheckpointFolder::parts_folder(std::int64_t step,
                                                     std::int64_t attempt) const {
  return path_ / fmt::format(".{}.{}", step_name(step), attempt);
}

void CheckpointFolder::start(std::int64_t step, std::int64_t attempt) const {
  std::filesystem::create_directories(path_);
  clean();
  std::filesystem::create_directory(parts_folder(step, attempt));
}

void CheckpointFolder::give_up(std::int64_t step, std::int64_t attempt) const noexcept {
  std::error_code ignored;  // whatever is left is hidden, and the next save deletes it
  std::filesystem::remove_all(parts_folder(step, attempt), ignored);
}

void CheckpointFolder::commit(const CheckpointHeader& header,
                              std::int64_t attempt,
                              std::int64_t keep_last) const {
  const std::int64_t step = header.progress.steps;
  const std::filesystem::path folder = parts_folder(step, attempt);
  const std::filesystem::path file = folder / kIndex;
  const CheckpointIndex index = make_index(header, take_notes(folder), file);
  write_new_file(file, index_text(index));
  sync_folder(folder);
  replace(folder, path_ / step_name(step));
  sync_folder(path_);
  write_new_file(path_ / kLatest, step_name(step) + "\n");
  clean();
  delete_older(step, keep_last);
}

void CheckpointFolder::clean() const {
  std::vector<std::filesystem::path> leftovers;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("." + std::string(kStep)) ||
        name.starts_with("." + std::string(kLatest) + "-")) {
      leftovers.push_back(entry.path());
    }
  }
  for (const std::filesystem::path& leftover : leftovers) {
    std::filesystem::remove_all(leftover);
  }
}

void CheckpointFolder::delete_older(std::int64_t step, std::int64_t keep_last) const {
  std::vector<std::pair<std::int64_t, std::filesystem::path>> others;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    const std::optional<std::int64_t> other = step_of(entry.path());
    if (other && *other < step) {
      others.emplace_back(*other, entry.path());
    }
  }
  std::sort(others.rbegin(), others.rend());
  for (std::size_t i = 0; keep_last > 0 && i < others.size(); ++i) {
    if (static_cast<std::int64_t>(i) + 1 >= keep_last) {
      // Out of sight first: a checkpoint that is half deleted is none.
      const std::filesystem::path hidden = path_ / ("." + others[i].second.filename().string());
      std::filesystem::rename(others[i].second, hidden);
      std::filesystem::remove_all(hidden);
    }
  }
}

bool has_checkpoint(const std::filesystem::path& path) {
  return std::filesystem::exists(path / kIndex) || std::filesystem::exists(path / kLatest);
}

std::filesystem::path find_checkpoint(const std::filesystem::path& path) {
  if (std::filesystem::exists(path / kIndex)) {
    return path;
  }
  if (!has_checkpoint(path)) {
    throw ParseError(path.string(), "", "expected a checkpoint, or a folder with a latest one");
  }
  std::string name = read_text_file(path / kLatest);
  while (!name.empty() && name.back() == '\n') {
    name.pop_back();
  }
  if (!step_of(name) || std::filesystem::path(name).filename() != name) {
    throw ParseError(
        (path / kLatest).string(), "", "expected the name of a checkpoint, such as step_00000100");
  }
  if (!std::filesystem::exists(path / name / kIndex)) {
    throw ParseError((path / kLatest).string(), "", fmt::format("there is no {}", name));
  }
  return path / name;
}

}  // namespace runflat::exec
