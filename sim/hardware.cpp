#include "sim/hardware.hpp"

#include "core/document.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

namespace runflat::sim {
namespace {

Value merged(const Value& base, const Value& over) {
  if (base.get_if<Value::Object>() == nullptr || over.get_if<Value::Object>() == nullptr) {
    return over;
  }
  Value result = base;
  for (const auto& [key, value] : *over.get_if<Value::Object>()) {
    const Value* old = base.find(key);
    result.set(key, old == nullptr ? value : merged(*old, value));
  }
  return result;
}

/// The document with its ancestors' keys filled in.
Value read_inherited(const std::filesystem::path& file, std::set<std::filesystem::path>& seen) {
  if (!seen.insert(file.lexically_normal()).second) {
    throw ParseError(file.string(), "inherits", "the file inherits from itself");
  }
  const Value own = read_document(file);
  const Value* parent = own.find("inherits");
  if (parent == nullptr) {
    return own;
  }
  const std::string name = Reader(*parent, file.string(), "inherits").text();
  return merged(read_inherited(file.parent_path() / (name + ".toml"), seen), own);
}

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return result;
}

std::string list_of_known() {
  std::string list;
  for (const HardwareName& name : known_hardware()) {
    list += (list.empty() ? "" : ", ") + name.gpu + " " + name.release;
  }
  return list;
}

}  // namespace

std::filesystem::path hardware_directory() {
  return RUNFLAT_HARDWARE_DIR;
}

std::vector<HardwareName> known_hardware() {
  std::vector<HardwareName> names;
  for (const auto& entry : std::filesystem::directory_iterator(hardware_directory())) {
    const std::string stem = entry.path().stem().string();
    const std::size_t mark = stem.find('_');
    if (entry.path().extension() == ".toml" && mark != std::string::npos) {
      names.push_back({stem.substr(0, mark), stem.substr(mark + 1)});
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

HardwareParameters load_hardware(std::string_view gpu, std::string_view release) {
  HardwareName wanted{lower_case(gpu), lower_case(release)};
  const std::vector<HardwareName> known = known_hardware();
  const auto of_gpu = std::find_if(
      known.begin(), known.end(), [&](const HardwareName& name) { return name.gpu == wanted.gpu; });
  if (of_gpu == known.end()) {
    throw ParseError(
        "hardware", "gpu", "unknown GPU " + wanted.gpu + "; known: " + list_of_known());
  }
  if (wanted.release.empty()) {
    const std::filesystem::path base = hardware_directory() / (wanted.gpu + ".toml");
    std::set<std::filesystem::path> seen;
    const Value document = read_inherited(base, seen);
    ObjectReader in(Reader(document, base.string()));
    wanted.release = in.at("default_release").text();
  }
  if (std::find(known.begin(), known.end(), wanted) == known.end()) {
    throw ParseError("hardware",
                     "release",
                     "unknown release " + wanted.release + " for GPU " + wanted.gpu +
                         "; known: " + list_of_known());
  }
  return read_hardware(hardware_directory() / (wanted.str() + ".toml"));
}

HardwareParameters load_hardware(const ClusterSpec& cluster, std::string_view release) {
  HardwareParameters hardware = load_hardware(cluster.gpu, release);
  hardware.fabric.domain_size = cluster.domain_size;
  return hardware;
}

HardwareParameters read_hardware(const std::filesystem::path& file) {
  std::set<std::filesystem::path> seen;
  const Value document = read_inherited(file, seen);
  return read_hardware(Reader(document, file.string()));
}

}  // namespace runflat::sim
