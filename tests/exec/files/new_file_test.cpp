#include "exec/files/new_file.hpp"

#include "tests/catch.hpp"
#include "tests/exec/data_files.hpp"

#include <filesystem>
#include <string>
#include <vector>

using namespace runflat::exec;

namespace {

void write(NewFile& file, const std::string& text) {
  file.write(std::as_bytes(std::span(text)));
}

}  // namespace

TEST_CASE("a file appears whole when it is published, and not before", "[exec][data]") {
  const TemporaryDirectory folder;
  const std::filesystem::path path = folder.path() / "x.bin";
  const std::string text(5'000'000, 'a');  // more than is held back
  write_bytes(path, "old");
  {
    NewFile file(path);
    write(file, text);
    write(file, "b");
    file.sync();
    CHECK(bytes_of(path) == "old");
    file.publish();
  }
  CHECK(bytes_of(path) == text + "b");
  CHECK(folder.names() == std::vector<std::string>{"x.bin"});
}

TEST_CASE("a file that is given up leaves nothing, nor does it touch its elder", "[exec][data]") {
  const TemporaryDirectory folder;
  const std::filesystem::path path = folder.path() / "x.bin";
  {
    NewFile first(path);
    NewFile second(path);  // two writers do not write into each other's file
    write(first, "first");
    write(second, "second");
    second.publish();
  }
  CHECK(bytes_of(path) == "second");
  CHECK(folder.names() == std::vector<std::string>{"x.bin"});
}

TEST_CASE("new files are as readable as any other", "[exec][data]") {
  const TemporaryDirectory folder;
  write_bytes(folder.path() / "usual", "");
  NewFile file(folder.path() / "new");
  file.publish();
  CHECK(std::filesystem::status(folder.path() / "new").permissions() ==
        std::filesystem::status(folder.path() / "usual").permissions());
}

TEST_CASE("what the system refuses names the file", "[exec][data]") {
  const TemporaryDirectory folder;
  try {
    const NewFile file(folder.path() / "missing" / "x.bin");
    FAIL("a file in a folder that does not exist");
  } catch (const std::filesystem::filesystem_error& error) {
    CHECK(error.path1() == folder.path() / "missing" / "x.bin");
    CHECK(error.code() == std::errc::no_such_file_or_directory);
  }
}
