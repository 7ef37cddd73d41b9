#include <limits>
#include <string>

#include "bench/longbook/gguf_header.hpp"
#include "gguf_writer.hpp"
#include "support/catch.hpp"

using namespace gyre::longbook;

namespace {

GgufHeader parse(const std::string& bytes) {
  return GgufHeader::parse(bytes, static_cast<std::int64_t>(bytes.size()));
}

void check_refused(const GgufWriter& writer, const std::string& why) {
  CHECK_THROWS_WITH(parse(writer.bytes()), Catch::Contains(why));
}

}  // namespace

TEST_CASE("metadata of every type are read") {
  const std::string integers =
      stored(std::uint32_t{GgufWriter::i16}) + stored(std::uint64_t{2}) + stored(std::int16_t{-7}) + stored(std::int16_t{8});
  const GgufHeader header = parse(GgufWriter()
                                      .integer("u32", 7)
                                      .number("f32", 0.5F)
                                      .words("text", "a text")
                                      .texts("texts", {"", "b"})
                                      .pair("bool", GgufWriter::boolean, stored(std::uint8_t{1}))
                                      .pair("i8", GgufWriter::i8, stored(std::int8_t{-3}))
                                      .pair("u64", GgufWriter::u64, stored(std::uint64_t{1} << 60))
                                      .pair("f64", GgufWriter::f64, stored(0.1))
                                      .pair("integers", GgufWriter::array, integers)
                                      .bytes());
  CHECK(header.at<std::int64_t>("u32") == 7);
  CHECK(header.at<double>("f32") == 0.5);
  CHECK(header.at<std::string>("text") == "a text");
  CHECK(header.at<std::vector<std::string>>("texts") == std::vector<std::string>{"", "b"});
  CHECK(header.at<bool>("bool"));
  CHECK(header.at<std::int64_t>("i8") == -3);
  CHECK(header.at<std::int64_t>("u64") == std::int64_t{1} << 60);
  CHECK(header.at<double>("f64") == 0.1);
  CHECK(header.at<std::vector<std::int64_t>>("integers") == std::vector<std::int64_t>{-7, 8});
  CHECK(header.find<std::int64_t>("missing") == nullptr);
  CHECK_THROWS_WITH(header.at<std::int64_t>("missing"), Catch::Contains("lacks the metadata missing"));
  CHECK_THROWS_WITH(header.at<std::int64_t>("text"), Catch::Contains("text of another type"));
}

TEST_CASE("tensors lie where their offsets say, counted from the first aligned byte behind the header") {
  const std::string a(2 * 18, 'a'), b(3 * 4, 'b');
  const std::string bytes = GgufWriter().tensor("matrix", {32, 2}, 2, a).tensor("vector", {3}, 0, b).bytes();
  const GgufHeader header = parse(bytes);
  const GgufTensor &matrix = header.tensors().at("matrix"), &vector = header.tensors().at("vector");
  CHECK((matrix.rows == 2 && matrix.columns == 32));
  CHECK((vector.rows == 1 && vector.columns == 3));
  CHECK(bytes.substr(matrix.begin, matrix.end - matrix.begin) == a);
  CHECK(bytes.substr(vector.begin, vector.end - vector.begin) == b);
}

TEST_CASE("a header is refused wherever it is cut, and so is a file without its last tensor") {
  const std::string bytes =
      GgufWriter().words("key", "value").texts("texts", {"a"}).tensor("vector", {3}, 0, std::string(12, 'b')).bytes();
  const auto data = static_cast<std::size_t>(parse(bytes).tensors().at("vector").begin);
  for (std::size_t size = 0; size < data - 31; ++size) CHECK_THROWS_AS(parse(bytes.substr(0, size)), std::invalid_argument);
  CHECK_THROWS_WITH(parse(bytes.substr(0, data + 11)), Catch::Contains("'vector' at " + std::to_string(data + 12)));
  CHECK_NOTHROW(parse(bytes.substr(0, data + 12)));
}

TEST_CASE("what no GGUF file has is refused by name") {
  CHECK_THROWS_WITH(parse("GGML" + std::string(100, 0)), Catch::Contains("is not a GGUF file"));
  GgufWriter writer;
  writer.version = 4;
  check_refused(writer, "version 4");
  check_refused(GgufWriter().integer("key", 1).integer("key", 2), "'key' twice");
  check_refused(GgufWriter().pair("key", 13, ""), "type 13");
  check_refused(GgufWriter().pair("key", GgufWriter::boolean, stored(std::uint8_t{2})), "bool of 2");
  check_refused(GgufWriter().pair("key", GgufWriter::u64, stored(std::numeric_limits<std::uint64_t>::max())),
                "integer of 18446744073709551615");
  check_refused(GgufWriter().pair("key", GgufWriter::array,
                                  stored(std::uint32_t{GgufWriter::array}) + stored(std::uint64_t{1}) + stored(std::uint64_t{0})),
                "no array of arrays");
  check_refused(GgufWriter().integer("general.alignment", 24), "general.alignment 24");
}

TEST_CASE("numbers that no file has room for ask for no memory") {
  const std::uint64_t many = std::uint64_t{1} << 60;
  GgufWriter pairs, tensors;
  pairs.pair_count = many, tensors.tensor_count = many;
  check_refused(pairs, "pairs of metadata");
  check_refused(tensors, "tensors");
  check_refused(GgufWriter().pair("key", GgufWriter::array, stored(std::uint32_t{GgufWriter::text}) + stored(many)),
                "values of metadata 'key'");
  check_refused(GgufWriter().pair("key", GgufWriter::text, stored(many)), "are missing");
}

TEST_CASE("tensors that no Llama has are refused by name") {
  const std::string data(64, 'a');
  check_refused(GgufWriter().tensor("t", {32}, 10, data), "'t' of type 10; read are F32");
  check_refused(GgufWriter().tensor("t", {31}, 2, data), "no whole blocks of Q4_0");
  check_refused(GgufWriter().tensor("t", {1, 2, 3}, 0, data), "3 dimensions");
  check_refused(GgufWriter().tensor("t", {0}, 0, data), "an extent of 0");
  check_refused(GgufWriter().tensor("t", {std::uint64_t{1} << 40, std::uint64_t{1} << 40}, 0, data), "beyond 2^62");
  check_refused(GgufWriter().tensor("t", {4}, 0, data).tensor("t", {4}, 0, data), "'t' twice");
  check_refused(GgufWriter().tensor("a", {8}, 0, data).place("b", {8}, 0, 0, data), "over tensor");
  check_refused(GgufWriter().tensor("a", {2}, 0, data).place("b", {2}, 0, 8, data), "not aligned to 32");
  check_refused(GgufWriter().place("t", {4}, 0, 1 << 20, data), "it is truncated");
  check_refused(GgufWriter().place("t", {4}, 0, std::numeric_limits<std::uint64_t>::max(), data), "beyond 2^62");
}
