// NumPy files: what is read is what was written, by shard as by the whole, and what is not a tensor is refused by name.
#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

#include "launch/folder.hpp"
#include "runtime/io/npy_header.hpp"
#include "runtime/io/tensor_reader.hpp"
#include "runtime/io/tensor_writer.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace std::string_literals;
namespace fs = std::filesystem;

namespace {

std::vector<float> load(const std::string& path) {
  const TensorReader reader(path);
  const Range all[] = {{0, reader.tokens()}};
  std::vector<float> values(static_cast<std::size_t>(reader.tokens() * reader.heads() * reader.dim()));
  reader.read(all, Type::f32, values.data());
  return values;
}

std::vector<float> ramp(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t k = 0; k < count; ++k) values[k] = 0.25f * static_cast<float>(k) - 3;
  return values;
}

/// The message of opening a file, which must be refused.
std::string refusal(const std::string& path) {
  try {
    const TensorReader reader(path);
  } catch (const std::invalid_argument& error) {
    CHECK(std::string(error.what()).starts_with(path + ": "));
    return error.what();
  }
  return "accepted";
}

/// What a half stands for, by its definition.
double half_value(int bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                           : exponent == 31 ? (fraction != 0 ? NAN : INFINITY)
                                            : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

}  // namespace

TEST_CASE("a float32 file of three extents is read as it was saved, in versions 1.0, 2.0 and 3.0") {
  Folder folder;
  for (const int major : {1, 2, 3}) {
    save_npy(folder / "x.npy", "<f4", "(5, 2, 3)", ramp(30), major);
    const TensorReader reader(folder / "x.npy");
    CHECK(reader.type() == FileType::f32);
    CHECK(reader.tokens() == 5);
    CHECK(reader.heads() == 2);
    CHECK(reader.dim() == 3);
    CHECK(load(folder / "x.npy") == ramp(30));
  }
}

TEST_CASE("a file of two extents has dim 1") {
  Folder folder;
  save_npy(folder / "x.npy", "<f4", "(5, 2)", ramp(10));
  CHECK(TensorReader(folder / "x.npy").dim() == 1);
  CHECK(load(folder / "x.npy") == ramp(10));
}

TEST_CASE("every float16 is read exactly: subnormals, zeros of both signs, infinities and NaN") {
  Folder folder;
  std::vector<std::uint16_t> halves(65536);
  std::iota(halves.begin(), halves.end(), std::uint16_t{0});
  save_npy(folder / "x.npy", "<f2", "(256, 16, 16)", halves);
  const std::vector<float> values = load(folder / "x.npy");
  for (int bits = 0; bits < 65536; ++bits) {
    const double expected = half_value(bits);
    const float value = values[static_cast<std::size_t>(bits)];
    const bool same = std::isnan(expected) ? std::isnan(value) : value == expected && std::signbit(value) == (bits >= 0x8000);
    if (!same) FAIL("half " << bits << " was read as " << value << ", not " << expected);
  }
}

TEST_CASE("float64 is rounded to the nearest float32, also past the first chunk of the conversion") {
  Folder folder;
  std::vector<double> doubles(200'000);
  for (std::size_t k = 0; k < doubles.size(); ++k) doubles[k] = std::sin(static_cast<double>(k)) / 3;
  save_npy(folder / "x.npy", "<f8", "(1000, 20, 10)", doubles);
  const std::vector<float> values = load(folder / "x.npy");
  for (std::size_t k = 0; k < doubles.size(); ++k)
    if (values[k] != static_cast<float>(doubles[k])) FAIL("element " << k);
  CHECK(TensorReader(folder / "x.npy").type() == FileType::f64);
}

TEST_CASE("shards read equal the same rows of the whole, in every element type") {
  Folder folder;
  const std::vector<float> whole = ramp(11 * 6);
  save_npy(folder / "f4.npy", "<f4", "(11, 2, 3)", whole);
  save_npy(folder / "f8.npy", "<f8", "(11, 2, 3)", std::vector<double>(whole.begin(), whole.end()));
  std::vector<std::uint16_t> halves(66);
  for (std::size_t k = 0; k < 66; ++k) halves[k] = static_cast<std::uint16_t>(0x3c00 + k);  // 1 + k / 1024
  save_npy(folder / "f2.npy", "<f2", "(11, 2, 3)", halves);

  const std::vector<Range> ranges = {{1, 3}, {4, 4}, {7, 11}};
  for (const char* name : {"f2.npy", "f4.npy", "f8.npy"}) {
    const std::vector<float> all = load(folder / name);
    std::vector<float> shard(6 * 6 + 1, -1.0f);
    TensorReader(folder / name).read(ranges, Type::f32, shard.data());
    std::vector<float> expected(all.begin() + 6, all.begin() + 18);
    expected.insert(expected.end(), all.begin() + 42, all.end());
    CHECK(shard.back() == -1.0f);
    shard.pop_back();
    CHECK(shard == expected);
  }
}

TEST_CASE("a file without tokens is read as empty, and tokens past the end are refused") {
  Folder folder;
  save_npy(folder / "x.npy", "<f4", "(0, 2, 3)", std::vector<float>{});
  CHECK(load(folder / "x.npy").empty());
  const Range beyond[] = {{0, 1}};
  float value[6];
  CHECK_THROWS_AS(TensorReader(folder / "x.npy").read(beyond, Type::f32, value), std::invalid_argument);
}

TEST_CASE("a file that is cut while it is open ends in an error with its name, not in zeros") {
  Folder folder;
  save_npy(folder / "x.npy", "<f4", "(5, 2, 3)", ramp(30));
  const TensorReader reader(folder / "x.npy");
  fs::resize_file(folder / "x.npy", 140);
  std::vector<float> values(30);
  const Range all[] = {{0, 5}};
  std::string message;
  try {
    reader.read(all, Type::f32, values.data());
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  CHECK(says(message, "x.npy: ends before"));
}

TEST_CASE("what is not a tensor file is refused with its name and the reason") {
  Folder folder;
  const std::string path = folder / "x.npy";
  CHECK(says(refusal(folder / "missing.npy"), "No such file"));
  CHECK(says(refusal(folder.path.string()), "not a regular file"));
  save_bytes(path, "");
  CHECK(says(refusal(path), "not a .npy file"));
  save_bytes(path, "\x93NUMPY");
  CHECK(says(refusal(path), "not a .npy file"));
  save_bytes(path, "PK\x03\x04 this is what numpy.savez writes");
  CHECK(says(refusal(path), "not a .npy file"));
  save_bytes(path, "\x93NUMPY\x04\x00\x10\x00\x00\x00 and so on"s);
  CHECK(says(refusal(path), "version 4.0"));
  save_bytes(path, "\x93NUMPY\x02\x00\xff\xff\x0f\x00{"s);
  CHECK(says(refusal(path), "header is not complete"));
  save_bytes(path, "\x93NUMPY\x02\x00\xff\xff\xff\xff{"s);
  CHECK(says(refusal(path), "its header has 4294967295 bytes; at most 1048576 are read"));
  save_bytes(path, "\x93NUMPY\x01\x00\x04\x00{'de"s);
  CHECK(says(refusal(path), "not understood"));
}

TEST_CASE("element types, orders and shapes that are not read are refused with a remedy") {
  Folder folder;
  const std::string path = folder / "x.npy";
  save_npy(path, "<f4", "(5, 2, 3)", ramp(30), 1, true);
  CHECK(says(refusal(path), "ascontiguousarray"));
  save_npy(path, ">f4", "(5, 2, 3)", ramp(30));
  CHECK(says(refusal(path), "'>f4' (big endian); f16, bf16, f32 and f64 are read: save x.astype('float32')"));
  save_npy(path, "<i8", "(5, 2, 3)", ramp(60));
  CHECK(says(refusal(path), "'<i8'"));
  for (const char* shape : {"()", "(30,)", "(5, 2, 3, 1)"}) {
    save_npy(path, "<f4", shape, ramp(shape == "()"s ? 1 : 30));
    CHECK(says(refusal(path), "[tokens, heads, dim] is read"));
  }
  save_npy(path, "<f4", "(5, 0, 3)", ramp(0));
  CHECK(says(refusal(path), "at least 1"));
  save_npy(path, "<f4", "(0, 3, 99999999999)", ramp(0));
  CHECK(says(refusal(path), "below 2^31"));
}

TEST_CASE("a header that lies about the size of the file is refused") {
  Folder folder;
  const std::string path = folder / "x.npy";
  save_npy(path, "<f4", "(5, 2, 4)", ramp(30));
  CHECK(says(refusal(path), "holds 120 bytes of data, but shape [5, 2, 4] takes 160"));
  save_npy(path, "<f4", "(5, 2, 2)", ramp(30));
  CHECK(says(refusal(path), "more than one array"));
  save_npy(path, "<f4", "(1152921504606846976, 2, 2)", ramp(0));  // 2^60 x 16 bytes: 0 in 64 bits
  CHECK(says(refusal(path), "more than 2^63 bytes"));
  save_npy(path, "<f4", "(99999999999999999999, 2, 2)", ramp(0));
  CHECK(says(refusal(path), "an extent below 2^63"));
  save_npy(path, "<f4", "(-5, 2, 3)", ramp(30));
  CHECK(says(refusal(path), "an extent below 2^63"));
}

TEST_CASE("headers are understood in any key order and refused when a key is missing, unknown or malformed") {
  const NpyHeader header{.descr = "<f2", .fortran_order = false, .shape = {7, 1}};
  CHECK(parse_npy_header("{\"shape\":(7L,1L),'fortran_order':False,'descr':'<f2'}  \n") == header);
  CHECK(parse_npy_header("{'descr': '<f4', 'fortran_order': True, 'shape': (7,), }").shape == std::vector<std::int64_t>{7});
  for (const char* text :
       {"", "{", "{}", "{'descr': '<f4', 'shape': (1,)}", "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'colour': 'red'}", "{'descr': '<f4",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, }", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_npy_header(text), std::invalid_argument);
  }
}

TEST_CASE("a refusal is a short line, however long a shape or a name in the file") {
  Folder folder;
  const std::string path = folder / "x.npy";
  std::string ones = "(";
  for (int k = 0; k < 5000; ++k) ones += "1,";
  save_npy(path, "<f4", ones + ")", ramp(1));
  CHECK(says(refusal(path), "has shape [1, 1, 1, 1, 1, 1, 1, 1, ... of 5000 extents]"));
  CHECK(refusal(path).size() < 300);
  save_npy(path, std::string(5000, 'x'), "(1,)", ramp(1));
  CHECK(refusal(path).size() < 300);
  const std::string key(5000, '\x1b');
  CHECK(refusal_of([&] { parse_npy_header("{'" + key + "': 1}"); }).size() < 300);
}

TEST_CASE("two writers of one file leave what one reader reads, under its name only once it is whole") {
  Folder folder;
  const std::string path = folder / "out.npy";
  const std::vector<float> rows = ramp(11 * 6);
  {
    TensorWriter creator(path, {.name = "out", .shape = {11, 2, 3}}, true);
    TensorWriter other(path, {.name = "out", .shape = {11, 2, 3}}, false);
    const std::vector<Range> first = {{0, 2}, {8, 11}}, second = {{2, 8}};
    std::vector<float> outer(rows.begin(), rows.begin() + 12);
    outer.insert(outer.end(), rows.begin() + 48, rows.end());
    creator.write(first, outer.data());
    other.write(second, rows.data() + 12);
    CHECK_FALSE(fs::exists(path));
    creator.publish();
  }
  CHECK(load(path) == rows);
  CHECK(TensorReader(path).dim() == 3);
  CHECK(folder.entries() == 1);
}

TEST_CASE("a file that was not published leaves nothing behind, and an older file of its name as it was") {
  Folder folder;
  save_npy(folder / "out.npy", "<f4", "(1, 1)", ramp(1));
  {
    TensorWriter creator(folder / "out.npy", {.name = "out", .shape = {11, 2}}, true);
    TensorWriter other(folder / "out.npy", {.name = "out", .shape = {11, 2}}, false);
    CHECK(folder.entries() == 2);
  }
  CHECK(folder.entries() == 1);
  CHECK(load(folder / "out.npy") == ramp(1));
}

TEST_CASE("a link whose target is not there stays one, and its target is made; links in a circle are refused") {
  Folder folder;
  fs::create_directory(folder / "data");
  fs::create_symlink("data/there.npy", folder / "middle.npy");
  fs::create_symlink(folder / "middle.npy", folder / "link.npy");
  {
    TensorWriter creator(folder / "link.npy", {.name = "out", .shape = {1, 1}}, true);
    CHECK(fs::exists(folder / "data/there.npy.gyre-partial"));
    creator.publish();
  }
  CHECK((fs::is_symlink(folder / "link.npy") && fs::is_symlink(folder / "middle.npy")));
  CHECK(fs::is_regular_file(folder / "data/there.npy"));

  const auto refusal_of = [](const std::string& path) {
    try {
      WholeFile(path, 0, true);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return "accepted"s;
  };
  fs::create_symlink("b.npy", folder / "a.npy"), fs::create_symlink("a.npy", folder / "b.npy");
  CHECK(says(refusal_of(folder / "a.npy"), "a.npy: cannot be written: Too many levels of symbolic links; choose another name"));
  CHECK(fs::is_symlink(folder / "a.npy"));
  fs::create_symlink(folder / "no/such.npy", folder / "far.npy");
  CHECK(says(refusal_of(folder / "far.npy"),
             "far.npy (a link to " + (folder / "no/such.npy") + "): cannot be written: No such file"));
}

TEST_CASE("a published file replaces what a symbolic link points to, and the link stays") {
  Folder folder;
  save_npy(folder / "there.npy", "<f4", "(1, 1)", ramp(1));
  fs::create_symlink(folder / "there.npy", folder / "link.npy");
  {
    TensorWriter creator(folder / "link.npy", {.name = "out", .shape = {2, 2}}, true);
    const Range all[] = {{0, 2}};
    creator.write(all, ramp(4).data());
    creator.publish();
  }
  CHECK(fs::is_symlink(folder / "link.npy"));
  CHECK(load(folder / "there.npy") == ramp(4));
}

TEST_CASE("an output that cannot be written is refused before anything is computed") {
  Folder folder;
  const auto refused = [](const std::string& path, std::vector<std::int64_t> shape, const std::string& part) {
    try {
      const TensorWriter writer(path, {.name = "out", .shape = std::move(shape)}, true);
    } catch (const std::invalid_argument& error) {
      return says(error.what(), path) && says(error.what(), part);
    }
    return false;
  };
  CHECK(refused(folder / "no/such/folder.npy", {1, 1}, "choose a folder"));
  CHECK(refused(folder.path.string(), {1, 1}, "not a regular file"));
  CHECK(refused("/dev/null", {1, 1}, "not a regular file"));
  CHECK(refused(folder / "huge.npy", {1, std::int64_t{1} << 58}, "choose a place with more room"));
  CHECK_THROWS_AS(TensorWriter(folder / "larger.npy", (FileContent{.name = "out", .shape = {std::int64_t{1} << 62, 4}}), true),
                  std::invalid_argument);
  CHECK_THROWS_AS(TensorWriter(folder / "nobody_created_it.npy", (FileContent{.name = "out", .shape = {1, 1}}), false),
                  std::invalid_argument);
  CHECK(folder.entries() == 0);
}

TEST_CASE("what a killed job left is replaced, what another job writes now is refused and stays as it is") {
  Folder folder;
  const std::string path = folder / "x.npy", partial = path + kPartialSuffix;
  save_bytes(partial, std::string(10'000, 'x'));
  {
    TensorWriter writer(path, {.name = "out", .shape = {2, 2}}, true);
    const std::string message = refusal_of([&] { TensorWriter(path, (FileContent{.name = "out", .shape = {1, 1}}), true); });
    CHECK(says(message, partial + " is in the way: another job writes it now; wait for that job or choose another name"));
    const Range all[] = {{0, 2}};
    writer.write(all, ramp(4).data());
    writer.publish();
  }
  CHECK(load(path) == ramp(4));
  CHECK(folder.entries() == 1);
}

TEST_CASE("a dead job's rank that still writes does not reach the file of the next job") {
  Folder folder;
  const std::string path = folder / "x.npy", partial = path + kPartialSuffix;
  const std::vector<float> rows = ramp(4);
  const Range all[] = {{0, 2}};
  save_bytes(partial, std::string(144, 'x'));
  TensorWriter straggler(path, {.name = "out", .shape = {2, 2}}, false);
  TensorWriter next(path, {.name = "out", .shape = {2, 2}}, true);
  next.write(all, rows.data());
  straggler.write(all, std::vector<float>(4, 7).data());
  next.publish();
  CHECK(load(path) == rows);
}

TEST_CASE("a partial file that is none is refused and stays") {
  Folder folder;
  const std::string path = folder / "x.npy", partial = path + kPartialSuffix;
  const auto refusal = [&] { return refusal_of([&] { TensorWriter(path, (FileContent{.name = "out", .shape = {1, 1}}), true); }); };
  fs::create_directory(partial);
  CHECK(says(refusal(), "is in the way: Is a directory; remove it"));
  fs::remove(partial);
  fs::create_symlink(folder / "elsewhere", partial);
  CHECK(says(refusal(), "is in the way"));
  fs::remove(partial);
  REQUIRE(::mkfifo(partial.c_str(), 0600) == 0);
  CHECK(says(refusal(), "is in the way: it is not a regular file"));
  CHECK(folder.entries() == 1);
}

TEST_CASE("the header of an output is what NumPy itself would write") {
  const std::int64_t shape[] = {2048, 9, 64};
  const std::string header = npy_header(FileType::f32, shape);
  CHECK(header.size() == 128);
  CHECK(header.substr(0, 10) == "\x93NUMPY\x01\x00\x76\x00"s);
  CHECK(header.substr(10, 66) == "{'descr': '<f4', 'fortran_order': False, 'shape': (2048, 9, 64), }");
  CHECK(header.back() == '\n');
  CHECK(parse_npy_header(header.substr(10)).shape == std::vector<std::int64_t>{2048, 9, 64});
}
