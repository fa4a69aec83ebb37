#include "sim/hardware.hpp"

#include "core/document.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
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

const Value* find_number(const Value& document, std::string_view dotted_key) {
  const std::size_t dot = dotted_key.find('.');
  const Value* table = document.find(dotted_key.substr(0, dot));
  return table == nullptr || dot == std::string_view::npos
             ? nullptr
             : table->find(dotted_key.substr(dot + 1));
}

/// A document with its ancestors' keys filled in, and the fitted numbers among them.
struct InheritedFile {
  Value document;
  std::vector<FittedParameter> fitted;
};

/// Adds the numbers that `own` lists as fitted, instead of those that it sets anew.
void add_fitted(const std::filesystem::path& file,
                const Value& own,
                std::vector<FittedParameter>& fitted) {
  std::erase_if(fitted, [&](const FittedParameter& old) { return find_number(own, old.key); });
  if (const Value* list = own.find("fitted")) {
    for (const Reader& item : Reader(*list, file.string(), "fitted").items()) {
      const std::string key = item.text();
      if (find_number(own, key) == nullptr) {
        item.reject("expected a number that this file sets, such as gemm.efficiency");
      }
      fitted.push_back({file.stem().string(), key});
    }
  }
}

InheritedFile read_inherited(const std::filesystem::path& file,
                             std::set<std::filesystem::path>& seen) {
  if (!seen.insert(file.lexically_normal()).second) {
    throw ParseError(file.string(), "inherits", "the file inherits from itself");
  }
  const Value own = read_document(file);
  InheritedFile result{own, {}};
  if (const Value* parent = own.find("inherits")) {
    const std::string name = Reader(*parent, file.string(), "inherits").text();
    result = read_inherited(file.parent_path() / (name + ".toml"), seen);
    result.document = merged(result.document, own);
  }
  add_fitted(file, own, result.fitted);
  return result;
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
    const Value document = read_inherited(base, seen).document;
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
  const InheritedFile inherited = read_inherited(file, seen);
  HardwareParameters hardware = read_hardware(Reader(inherited.document, file.string()));
  for (const FittedParameter& number : inherited.fitted) {
    const std::optional<HardwareNumber> found = number_of(hardware, number.key);
    if (!found || found->value <= 0.0) {
      throw ParseError(file.string(), "fitted", number.key + " is not a real number above 0");
    }
  }
  hardware.fitted = inherited.fitted;
  return hardware;
}

}  // namespace runflat::sim
