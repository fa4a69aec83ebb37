#include "sim/hardware.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"

#include <filesystem>
#include <fstream>
#include <string>

namespace runflat::sim {
namespace {

std::string message_of(const std::string& gpu, const std::string& release) {
  try {
    (void)load_hardware(gpu, release);
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("every shipped parameter file reads, and is named after what it says",
          "[sim][hardware]") {
  const std::vector<HardwareName> known = known_hardware();
  REQUIRE(known.size() >= 5);
  for (const HardwareName& name : known) {
    CAPTURE(name.str());
    const HardwareParameters hardware = load_hardware(name.gpu, name.release);
    CHECK(hardware.gpu == name.gpu);
    CHECK(hardware.release == name.release);
  }
}

TEST_CASE("every GPU has a default release, and names are read in any case", "[sim][hardware]") {
  for (const char* gpu : {"a100", "h100", "h200", "b200", "gb200"}) {
    CAPTURE(gpu);
    CHECK(load_hardware(gpu).gpu == gpu);
  }
  CHECK(load_hardware("H100").release == load_hardware("h100").release);
}

TEST_CASE("an unknown GPU or release is refused with the known ones", "[sim][hardware]") {
  CHECK(message_of("tpu", "").find("h100 nemo-24.11") != std::string::npos);
  const std::string release = message_of("h100", "nemo-1.0");
  CHECK(release.find("unknown release nemo-1.0") != std::string::npos);
  CHECK(release.find("a100 megatron-2022") != std::string::npos);
}

TEST_CASE("parameters written as a file read back as the same file", "[sim][hardware]") {
  for (const HardwareName& name : known_hardware()) {
    const std::string text = to_toml(load_hardware(name.gpu, name.release));
    const Value document = parse_toml(text, "again.toml");
    CHECK(to_toml(read_hardware(Reader(document, "again.toml"))) == text);
  }
}

TEST_CASE("a parameter file's faults name the key", "[sim][hardware]") {
  const std::string good = to_toml(load_hardware("h100"));
  const auto fault_of = [](const std::string& text) -> std::string {
    const Value document = parse_toml(text, "bad.toml");
    try {
      (void)read_hardware(Reader(document, "bad.toml"));
    } catch (const ParseError& error) {
      return error.what();
    }
    return "no error";
  };
  CHECK(fault_of(good + "\n[extra]\na = 1\n").find("extra") != std::string::npos);
  std::string negative = good;
  negative.replace(negative.find("efficiency = "), 13, "efficiency = -");
  CHECK(fault_of(negative).find("gemm.efficiency") != std::string::npos);
  std::string missing = good;
  missing.replace(missing.find("half_depth"), 10, "half_death");
  CHECK(fault_of(missing).find("gemm.half_depth") != std::string::npos);
}

TEST_CASE("numbers are found and changed by the key that the file has", "[sim][hardware]") {
  HardwareParameters hardware = load_hardware("a100", "megatron-deepspeed");
  CHECK(number_of(hardware, "gpu.num_sms")->value == 108.0);
  CHECK(number_of(hardware, "streaming.launch_us")->value == Approx(4.0));
  CHECK(number_of(hardware, "gemm.efficiency")->most == 1.0);
  CHECK(!number_of(hardware, "gemm.efficienc"));
  CHECK(!number_of(hardware, "efficiency"));
  set_number(hardware, "host.microbatch_us", 5.0);
  CHECK(hardware.host.microbatch.count() == Approx(5e-6));
  CHECK_THROWS_AS(set_number(hardware, "gemm.speed", 1.0), InvalidArgument);
}

TEST_CASE("a fitted number belongs to the file that sets it", "[sim][hardware]") {
  const auto owner = [](const char* gpu, const char* release, const std::string& key) {
    for (const FittedParameter& number : load_hardware(gpu, release).fitted) {
      if (number.key == key) {
        return number.file;
      }
    }
    return std::string("none");
  };
  CHECK(owner("a100", "megatron-2022", "gemm.efficiency") == "a100");
  CHECK(owner("a100", "megatron-2022", "host.microbatch_us") == "none");
  CHECK(owner("a100", "megatron-deepspeed", "host.microbatch_us") == "a100_megatron-deepspeed");
  CHECK(owner("b200", "nemo-25.04", "gemm.efficiency") == "h100_nemo-25.04");  // inherited
  CHECK(owner("h100", "nemo-25.05", "gemm.efficiency") == "none");  // set anew, not fitted
}

TEST_CASE("what is listed as fitted must be a number of the file itself", "[sim][hardware]") {
  const auto fault_of = [](const std::string& fitted) -> std::string {
    const std::filesystem::path file =
        std::filesystem::temp_directory_path() / "runflat_fitted.toml";
    std::ofstream(file) << "fitted = [\"" << fitted << "\"]\n" << to_toml(load_hardware("h100"));
    std::string fault = "no error";
    try {
      (void)read_hardware(file);
    } catch (const ParseError& error) {
      fault = error.what();
    }
    std::filesystem::remove(file);
    return fault;
  };
  CHECK(fault_of("gemm.efficiency") == "no error");
  for (const char* bad : {"gemm.speed", "efficiency", "domain.size", "host.microbatch_us"}) {
    CAPTURE(bad);
    CHECK(fault_of(bad).find("fitted") != std::string::npos);
  }
}

TEST_CASE("a file that inherits from itself is refused", "[sim][hardware]") {
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "runflat_loop.toml";
  std::ofstream(file) << "inherits = \"runflat_loop\"\n";
  CHECK_THROWS_AS(read_hardware(file), ParseError);
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace runflat::sim
