#include "exec/job/exit_status.hpp"

#include "core/error.hpp"
#include "exec/device/make_device.hpp"
#include "exec/job/job_worker.hpp"
#include "exec/store/store.hpp"

#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <iostream>

namespace runflat::exec {
namespace {

int fail(int status, const char* reason) {
  std::cerr << fmt::format("runflat: {}\n", reason) << std::flush;
  return status;
}

}  // namespace

int exit_status_of(const std::function<void()>& run) {
  try {
    run();
    return 0;
  } catch (const ParseError& error) {
    return fail(kBadInput, error.what());
  } catch (const Unavailable& error) {
    return fail(kBadInput, error.what());
  } catch (const StoreError& error) {
    return fail(kBadInput, error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(kBadInput,
                fmt::format("{}: {}", error.path1().string(), error.code().message()).c_str());
  } catch (const InfeasibleError& error) {
    return fail(kInfeasible, error.what());
  } catch (const PeerLost& error) {
    return fail(kPeerLost, error.what());
  } catch (const Fenced& error) {
    return fail(kFenced, error.what());
  } catch (const ProgramEnd& error) {
    return fail(error.status(), error.what());
  } catch (const std::exception& error) {
    return fail(1, error.what());
  }
}

}  // namespace runflat::exec
