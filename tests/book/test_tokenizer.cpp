// A small vocabulary of letters of bytes and a few merges.
#include <string>
#include <vector>

#include "bench/longbook/byte_pairs.hpp"
#include "bench/longbook/tokenizer.hpp"
#include "bench/longbook/word_splitter.hpp"
#include "gguf_writer.hpp"
#include "support/catch.hpp"

using namespace gyre::longbook;

namespace {

using Words = std::vector<std::string>;

Words split(const std::string& pre_tokenizer, std::string_view text) {
  Words words;
  WordSplitter(pre_tokenizer).split(text, [&](std::string_view word) { return words.emplace_back(word), true; });
  return words;
}

std::string joined(const BytePairs& pairs, std::string_view word) {
  std::vector<std::int32_t> tokens;
  pairs.encode(word, tokens);
  std::string text;
  for (const std::int32_t token : tokens) text += (text.empty() ? "" : "|") + pairs.text(token);
  return text;
}

}  // namespace

TEST_CASE("words take the space before them, and leave the one before a word of many spaces to it") {
  CHECK(split("gpt-2", "And it's  so,\n\nI'd\tsaid: 'twas 1611!") ==
        Words{"And", " it", "'s", " ", " so", ",", "\n", "\n", "I", "'d", "\t", "said", ":", " '", "twas", " 1611", "!"});
  CHECK(split("gpt-2", "  ") == Words{"  "});
  CHECK(split("gpt-2", "").empty());
}

TEST_CASE("smollm parts digits one by one, and what is before a digit ends there") {
  CHECK(split("smollm", "of 1611, 42") == Words{"of", " ", "1", "6", "1", "1", ",", " ", "4", "2"});
  CHECK(split("smollm", "a  7") == Words{"a", "  ", "7"});
  CHECK(split("smollm", "x\u0663\u00bdy") == Words{"x", "\u0663", "\u00bd", "y"});  // an Arabic three, a half
}

TEST_CASE("letters are those of every script") {
  CHECK(split("gpt-2", "\u00c6sop \u65e5\u672c, \u0627\u0644!") == Words{"\u00c6sop", " \u65e5\u672c", ",", " \u0627\u0644", "!"});
  CHECK(split("gpt-2", "e\u0301 \U0001f600") == Words{"e", "\u0301", " \U0001f600"});  // a mark is no letter
}

TEST_CASE("a text that is not UTF-8 is refused with its byte, wherever it is") {
  CHECK_THROWS_WITH(split("smollm", "good \xff"), Catch::Contains("is not UTF-8 at byte 5"));
  CHECK_THROWS_WITH(split("smollm", std::string(100000, 'a') + "\xc3"), Catch::Contains("is not UTF-8 at byte 100000"));
  CHECK_THROWS_WITH(split("bert", "a"), Catch::Contains("'bert'; gpt-2 and smollm are known"));
}

TEST_CASE("the pair that was learned first merges first, the leftmost of equal ones, and what it makes merges on") {
  const Words tokens = {"a", "b", "c", "ab", "bc", "abc", "aa", "aaaa"};
  const BytePairs pairs(tokens, Words{"b c", "a b", "a bc", "a a", "aa aa"});
  CHECK(joined(pairs, "abc") == "abc");  // bc first, then a bc: ab c does not merge
  CHECK(joined(pairs, "ab") == "ab");
  CHECK(joined(pairs, "abab") == "ab|ab");
  CHECK(joined(pairs, "aaa") == "aa|a");
  CHECK(joined(pairs, "aaaaa") == "aaaa|a");
  CHECK(joined(pairs, "cba") == "c|b|a");
  CHECK(joined(pairs, "").empty());
}

TEST_CASE("a long word takes no time that grows with its square") {
  const BytePairs pairs(Words{"a", "aa", "aaaa"}, Words{"a a", "aa aa"});
  std::vector<std::int32_t> tokens;
  pairs.encode(std::string(1 << 20, 'a'), tokens);  // its square would be minutes
  CHECK(tokens == std::vector<std::int32_t>(1 << 18, 2));
}

TEST_CASE("bytes that are no printed letters are spelt by other letters, and read back") {
  const BytePairs pairs(Words{"\u0120", "t", "\u0120t", "\u00c3", "\u00a9", "\u010a", "<|end|>"}, Words{"\u0120 t"});
  CHECK(joined(pairs, " t") == " t");
  CHECK(joined(pairs, "\u00e9\n") == "\xc3|\xa9|\n");
  CHECK(pairs.text(6) == "<|end|>");
  CHECK_THROWS_WITH(joined(pairs, "tx"), Catch::Contains("the byte 120, which no token of the model spells"));
}

TEST_CASE("a vocabulary that contradicts itself is refused by name") {
  CHECK_THROWS_WITH(BytePairs(Words{"a", "a"}, Words{}), Catch::Contains("'a' twice"));
  CHECK_THROWS_WITH(BytePairs(Words{"a", "b"}, Words{"a b"}), Catch::Contains("no token 'ab'"));
  CHECK_THROWS_WITH(BytePairs(Words{"a", "b", "ab"}, Words{"a b", "a b"}), Catch::Contains("'a b' twice"));
  CHECK_THROWS_WITH(BytePairs(Words{"a"}, Words{"a"}), Catch::Contains("no pair"));
}

TEST_CASE("a text's first tokens are those of all of it") {
  const std::string bytes = GgufWriter()
                                .words("tokenizer.ggml.model", "gpt2")
                                .words("tokenizer.ggml.pre", "smollm")
                                .texts("tokenizer.ggml.tokens", {"\u0120", "a", "b", "ab", "\u0120ab", "7"})
                                .texts("tokenizer.ggml.merges", {"a b", "\u0120 ab"})
                                .bytes();
  const Tokenizer tokenizer(GgufHeader::parse(bytes, static_cast<std::int64_t>(bytes.size())));
  const std::vector<std::int32_t> all = tokenizer.encode("ab ab 77ba", 100);
  CHECK(all == std::vector<std::int32_t>{3, 4, 0, 5, 5, 2, 1});
  CHECK(tokenizer.encode("ab ab 77ba", 4) == std::vector<std::int32_t>{3, 4, 0, 5});
  CHECK(tokenizer.decode(all) == "ab ab 77ba");
}

TEST_CASE("a tokenizer that is none of byte pairs is refused by name") {
  const auto made = [](const GgufWriter& writer) {
    const std::string bytes = writer.bytes();
    return Tokenizer(GgufHeader::parse(bytes, static_cast<std::int64_t>(bytes.size())));
  };
  CHECK_THROWS_WITH(made(GgufWriter().words("tokenizer.ggml.model", "llama")), Catch::Contains("tokenizer 'llama'"));
  CHECK_THROWS_WITH(made(GgufWriter().words("tokenizer.ggml.model", "gpt2")), Catch::Contains("lacks the metadata tokenizer.ggml"));
  const std::string yes = stored(std::uint8_t{1});
  CHECK_THROWS_WITH(
      made(GgufWriter().words("tokenizer.ggml.model", "gpt2").pair("tokenizer.ggml.add_bos_token", GgufWriter::boolean, yes)),
      Catch::Contains("wants tokenizer.ggml.add_bos_token"));
}
