// .safetensors files: tensors are found by name among others, shards are what was saved, and every lie of a header is refused by
// name.

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "kernels/convert.hpp"
#include "launch/folder.hpp"
#include "runtime/io/safetensors_header.hpp"
#include "runtime/io/tensor_reader.hpp"
#include "runtime/io/tensor_writer.hpp"

using namespace gyre;
using namespace std::string_literals;
namespace fs = std::filesystem;

namespace {

std::string with_length(const std::string& header, std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header;
}

std::string entry(const std::string& name, const std::string& type, const std::string& shape, std::int64_t begin,
                  std::int64_t end) {
  return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(end) + "]}";
}

/// Why a header is refused for a file with that much data; "accepted" if it is not.
std::string why(const std::string& header, std::int64_t data_bytes) {
  return refusal_of([&] { parse_safetensors_header(header, data_bytes); });
}

template <class Element>
std::string bytes_of(const std::vector<Element>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Element)};
}

const std::string kNames[] = {"q", "k", "v"};

}  // namespace

TEST_CASE("q, k and v are found among other tensors, in any order, type and alignment") {
  Folder folder;
  const std::vector<float> q = {1, 2, 3, 4, 5, 6}, v = {0.5f, -1};
  const std::vector<double> k = {1.0 / 3, -2.5};
  // One odd byte in front, so that no element is aligned in the file.
  const std::string header = "{" + entry("v", "BF16", "[1,2,1]", 41, 45) + ",\"__metadata__\":{\"format\":\"pt\"}," +
                             entry("odd", "U8", "[1]", 0, 1) + "," + entry("k", "F64", "[1,1,2]", 25, 41) + "," +
                             entry("q", "F32", "[3,2,1]", 1, 25) + "," + entry("none", "F8_E5M2", "[7,0]", 45, 45) + "}   ";
  std::vector<std::uint16_t> brains = {to_bf16(v[0]).bits, to_bf16(v[1]).bits};
  save_bytes(folder / "x.safetensors", with_length(header, header.size()) + "!" + bytes_of(q) + bytes_of(k) + bytes_of(brains));
  const std::vector<TensorReader> readers = TensorReader::from_safetensors(folder / "x.safetensors", kNames);
  CHECK(readers[0].type() == FileType::f32);
  CHECK(readers[1].type() == FileType::f64);
  CHECK(readers[2].type() == FileType::bf16);
  CHECK(readers[2].heads() == 2);
  CHECK(readers[1].name() == (folder / "x.safetensors") + ": tensor k");
  std::vector<float> rows(4);
  const Range last[] = {{1, 3}}, all[] = {{0, 1}};
  readers[0].read(last, Type::f32, rows.data());
  CHECK(rows == std::vector<float>{3, 4, 5, 6});
  readers[1].read(all, Type::f32, rows.data());
  CHECK(rows[0] == static_cast<float>(1.0 / 3));
  readers[2].read(all, Type::f32, rows.data());
  CHECK(std::vector<float>(rows.begin(), rows.begin() + 2) == v);
}

TEST_CASE("what ranks write together in any type and format is what shards read, to the byte") {
  Folder folder;
  std::mt19937_64 random(3);
  for (int draw = 0; draw < 60; ++draw) {
    const std::int64_t tokens = static_cast<std::int64_t>(random() % 40), heads = 1 + static_cast<std::int64_t>(random() % 3),
                       dim = 1 + static_cast<std::int64_t>(random() % 9), row = heads * dim;
    const FileType type = std::vector{FileType::f16, FileType::bf16, FileType::f32, FileType::f64}[random() % 4];
    const bool npy = type != FileType::bf16 && random() % 2 == 0;
    const std::string path = folder / (npy ? "x.npy" : "x.safetensors");
    std::vector<float> rows(static_cast<std::size_t>(tokens * row));
    for (float& value : rows) value = static_cast<float>(static_cast<int>(random() % 512) - 256) / 64;  // in every type
    std::vector<Range> ranges[3];                                                                       // of three ranks
    for (std::int64_t begin = 0; begin < tokens;) {
      const std::int64_t end = std::min<std::int64_t>(tokens, begin + static_cast<std::int64_t>(random() % 7));
      ranges[random() % 3].push_back({begin, end});
      begin = end;
    }
    const FileContent content{.name = "out", .type = type, .shape = {tokens, heads, dim}};
    const auto rows_of = [&](const std::vector<Range>& mine) {
      std::vector<float> shard;
      for (const Range range : mine) shard.insert(shard.end(), rows.begin() + range.begin * row, rows.begin() + range.end * row);
      return shard;
    };
    {
      TensorWriter creator(path, content, true), second(path, content, false), third(path, content, false);
      creator.write(ranges[0], rows_of(ranges[0]).data());
      second.write(ranges[1], rows_of(ranges[1]).data());
      third.write(ranges[2], rows_of(ranges[2]).data());
      creator.publish();
    }
    const std::string names[] = {"out"};
    const TensorReader reader = npy ? TensorReader(path) : TensorReader::from_safetensors(path, names)[0];
    CHECK(reader.type() == type);
    for (const auto& mine : ranges) {
      std::vector<float> shard(rows_of(mine).size(), std::nanf(""));
      reader.read(mine, Type::f32, shard.data());
      CHECK(shard == rows_of(mine));
      std::vector<std::uint16_t> halves(shard.size() + 1, 0x7e00), expected(halves);
      reader.read(mine, Type::f16, halves.data());
      for (std::size_t k = 0; k < shard.size(); ++k) expected[k] = to_f16(shard[k]).bits;
      CHECK(halves == expected);
    }
  }
  CHECK(folder.entries() == 2);
}

TEST_CASE("a file that is written has the bytes that the format describes, its data at a multiple of 64") {
  Folder folder;
  const std::string path = folder / "lse.safetensors";
  TensorWriter writer(path, {.name = "lse", .shape = {3, 1}}, true);
  const Range all[] = {{0, 3}};
  const std::vector<float> rows = {1, -INFINITY, 2};
  writer.write(all, rows.data());
  writer.publish();
  std::string header = R"({"lse":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]}})";
  header.resize(120, ' ');
  CHECK(load_bytes(path) == with_length(header, 120) + bytes_of(rows));
}

TEST_CASE("tensors larger than a piece are read whole") {
  Folder folder;
  const std::int64_t tokens = 3'000'000;
  std::vector<float> rows(static_cast<std::size_t>(tokens));
  std::iota(rows.begin(), rows.end(), 0.0f);
  TensorWriter writer(folder / "x.npy", {.name = "x", .type = FileType::f64, .shape = {tokens, 1, 1}}, true);
  const Range all[] = {{0, tokens}};
  writer.write(all, rows.data());
  writer.publish();
  std::vector<float> back(rows.size());
  TensorReader(folder / "x.npy").read(all, Type::f32, back.data());  // 24 MB in pieces of 8 MiB
  CHECK(back == rows);
}

TEST_CASE("a value that the file's type has no number for is refused with its token and a remedy") {
  Folder folder;
  TensorWriter writer(folder / "x.npy", {.name = "x", .type = FileType::f16, .shape = {4, 2, 1}}, true);
  const Range part[] = {{0, 1}, {2, 4}};
  const float rows[] = {0, 1, 2, 3, 1e6f, 5};
  const std::string message = refusal_of([&] { writer.write(part, rows); });
  CHECK(says(message, "token 3 has 1e+06, which"));
  CHECK(says(message, "beyond f16; choose --out-dtype f32"));
}

TEST_CASE("names and types that are not there are refused with those that are") {
  Folder folder;
  const std::string path = folder / "x.safetensors";
  const auto refusal = [&](const std::string& header, std::size_t data) {
    save_bytes(path, with_length(header, header.size()) + std::string(data, '\0'));
    return refusal_of([&] { TensorReader::from_safetensors(path, kNames); });
  };
  CHECK(says(refusal("{" + entry("q", "F32", "[1,1,1]", 0, 4) + "," + entry("key", "F32", "[1,1,1]", 4, 8) + "}", 8),
             path + ": has no tensor 'k', only 'q', 'key'; save it under the name 'k'"));
  CHECK(says(refusal("{}", 0), "has no tensor 'q', only none"));
  std::string many;
  for (int k = 0; k < 20; ++k) many += (k == 0 ? "" : ",") + entry("t" + std::to_string(k), "U8", "[0]", 0, 0);
  CHECK(says(refusal("{" + many + "}", 0), "and 12 more"));
  const auto with_q = [&](const std::string& type, const std::string& shape, int bytes) {
    return refusal("{" + entry("q", type, shape, 0, bytes) + "," + entry("k", "F32", "[0,1,1]", bytes, bytes) + "," +
                       entry("v", "F32", "[0,1,1]", bytes, bytes) + "}",
                   static_cast<std::size_t>(bytes));
  };
  CHECK(with_q("F32", "[1,1,1]", 4) == "accepted");
  CHECK(with_q("F32", "[0,1,1]", 0) == "accepted");
  CHECK(says(with_q("I64", "[1,1,1]", 8), "tensor q: has elements of type 'I64'"));
  CHECK(says(with_q("F8_E4M3", "[1,1,1]", 1), "'F8_E4M3'; f16, bf16, f32 and f64 are read"));
  CHECK(says(with_q("NEW", "[1,1,1]", 3), "'NEW'"));
  CHECK(says(with_q("F32", "[]", 4), "[tokens, heads, dim] is read"));
  CHECK(says(with_q("F32", "[1,1,1,1]", 4), "[tokens, heads, dim] is read"));
  CHECK(says(with_q("F32", "[0,0,1]", 0), "at least 1"));
  CHECK(says(with_q("F32", "[0,1,3000000000]", 0), "below 2^31"));
}

TEST_CASE("what is not a .safetensors file is refused, as are lengths that lie") {
  Folder folder;
  const std::string path = folder / "x.safetensors";
  const auto refusal = [&](const std::string& bytes) {
    save_bytes(path, bytes);
    return refusal_of([&] { TensorReader::from_safetensors(path, kNames); });
  };
  CHECK(says(refusal(""), "is not a .safetensors file: it has 0 bytes"));
  CHECK(says(refusal("1234567"), "it has 7 bytes"));
  CHECK(says(refusal(with_length("", 0)), "does not begin with '{'"));
  CHECK(says(refusal(with_length("{}", 3)), "its header has 3 bytes, but the file has only 10"));
  CHECK(says(refusal(with_length("{}", 100'000'001)), "at most 100000000"));
  CHECK(says(refusal(with_length("{}", ~std::uint64_t{0})), "18446744073709551615"));
  CHECK(says(refusal("\x93NUMPY\x01\x00\x76\x00{'descr'"s), "is not a .safetensors file"));
  CHECK(says(refusal_of([&] { TensorReader::from_safetensors(folder / "missing", kNames); }), "No such file"));
  CHECK(says(refusal_of([&] { TensorReader::from_safetensors(folder.path.string(), kNames); }), "not a regular file but a folder"));
}

TEST_CASE("headers that are not of the format are refused by what is wrong with them") {
  CHECK(why("{}", 0) == "accepted");
  CHECK(why("{} \n\t ", 0) == "accepted");
  CHECK(says(why("[]", 0), "does not begin with '{'"));
  CHECK(says(why("{", 0), "is not JSON"));
  CHECK(says(why("{}{}", 0), "is not JSON at byte 3"));
  CHECK(says(why("{\"a\":\"\xff\"}", 0), "is not JSON"));
  CHECK(says(why("{}\0 and more"s, 0), "is not JSON at byte 3"));
  CHECK(says(why(R"({"q":null})", 0), "null where the tensor 'q' belongs"));
  CHECK(says(why(R"({"q":[]})", 0), "an array where the tensor 'q' belongs"));
  CHECK(says(why(R"({"q":{"dtype":3}})", 0), "a number where dtype of tensor 'q' belongs"));
  CHECK(says(why(R"({"q":{"shape":[[1]]}})", 0), "an array where an extent"));
  CHECK(says(why(R"({"q":{"shape":[true]}})", 0), "true or false where an extent"));
  CHECK(says(why(R"({"q":{"colour":"red"}})", 0), "unknown key 'colour' of tensor 'q'"));
  CHECK(says(why(R"({"q":{"dtype":"F32","shape":[0]}})", 0), "lacks one of"));
  CHECK(says(why(R"({"q":{"dtype":"F32","shape":[0],"data_offsets":[0]}})", 0), "1 data_offsets, not 2"));
  CHECK(says(why(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "an object where a text of __metadata__ belongs"));
  CHECK(says(why(R"({"__metadata__":"text"})", 0), "a text where the tensor '__metadata__' belongs"));
}

TEST_CASE("a key that stands twice is refused wherever it stands") {
  const std::string q = entry("q", "U8", "[0]", 0, 0);
  CHECK(says(why("{" + q + "," + entry("k", "U8", "[0]", 0, 0) + "," + q + "}", 0), "has 'q' twice"));
  CHECK(says(why(R"({"q":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0), "has dtype of tensor 'q' twice"));
  CHECK(says(why(R"({"q":{"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]}})", 0), "has shape of tensor 'q' twice"));
  CHECK(says(why(R"({"__metadata__":{"a":"b","a":"c"}})", 0), "has 'a' twice"));
  CHECK(says(why(R"({"__metadata__":{},"__metadata__":{}})", 0), "has '__metadata__' twice"));
}

TEST_CASE("numbers that are negative, beyond 63 bits or no whole numbers are refused") {
  for (const char* number : {"-1", "9223372036854775808", "1e3", "2.5", "99999999999999999999999"}) {
    CHECK(says(why("{\"q\":{\"shape\":["s + number + "]}}", 0), "at least 0 and below 2^63"));
    CHECK(says(why("{\"q\":{\"data_offsets\":["s + number + "]}}", 0), "at least 0 and below 2^63"));
  }
  CHECK(says(why("{" + entry("q", "F32", "[4611686018427387904,4]", 0, 0) + "}", 0), "more than 2^63 bytes"));
  CHECK(says(why("{" + entry("q", "F32", "[0,4611686018427387904,4]", 0, 0) + "}", 0), "more than 2^63 bytes"));
}

TEST_CASE("offsets that overlap, leave a hole, run out of the data or disagree with the shape are refused by tensor") {
  const auto two = [](int begin, int end) {
    return "{" + entry("k", "U8", "[" + std::to_string(end - begin) + "]", begin, end) + "," + entry("q", "U8", "[8]", 0, 8) + "}";
  };
  CHECK(why(two(8, 12), 12) == "accepted");
  CHECK(says(why(two(7, 11), 11), "tensor 'k' begins at byte 7 of the data, but tensor 'q' ends at 8: they overlap"));
  CHECK(says(why(two(9, 12), 12), "the format allows no hole"));
  CHECK(says(why(two(0, 4), 8), "overlap"));
  CHECK(says(why(two(8, 12), 11), "tensor 'k' ends at byte 12 of the data, which has 11; the file is truncated"));
  CHECK(says(why(two(8, 12), 13), "13 bytes of data, of which the last 1 belong to no tensor"));
  CHECK(says(why("{" + entry("q", "U8", "[1]", 1, 2) + "}", 2), "the data begins at 0: the format allows no hole"));
  CHECK(says(why("{" + entry("q", "F32", "[3]", 0, 11) + "}", 11), "which are 11 bytes, but F32 of shape [3] takes 12"));
  CHECK(says(why("{" + entry("q", "U8", "[1]", 2, 1) + "}", 2), "ends before it begins"));
  CHECK(says(why("{" + entry("q", "NEW", "[1]", 0, 9223372036854775807) + "}", 2), "truncated"));
}

TEST_CASE("a header that nests a million deep is refused without a deep stack") {
  const std::string deep(1'000'000, '[');
  CHECK(says(why("{\"q\":" + deep, 0), "an array where the tensor 'q' belongs"));
  CHECK(says(why("{\"q\":{\"shape\":" + deep, 0), "an array where an extent"));
  std::string objects = "{";
  for (int k = 0; k < 300'000; ++k) objects += "\"q\":{";
  CHECK(says(why(objects, 0), "unknown key 'q' of tensor 'q'"));
}

TEST_CASE("an error about a name of a megabyte is one short line") {
  std::string name(1'000'000, 'x');
  name[3] = '\n';
  std::string header = "{\"" + name + "\":null}";
  header[5] = ' ';
  CHECK(why(header, 0).size() < 300);
  CHECK(says(why("{" + entry("a\\nb", "U8", "[1]", 0, 9) + "}", 9), "tensor 'a b'"));
}
