#include "bench/trainer/text.hpp"

#include <numeric>
#include <set>

#include "bench/trainer/cross_entropy.hpp"
#include "launch/folder.hpp"
#include "support/catch.hpp"
#include "trainer/small_model.hpp"

using namespace gyre;
using namespace gyre::trainer;

namespace {

std::string letters(const PackedSequence& sequence) {
  return {sequence.tokens.begin(), sequence.tokens.end()};
}

}  // namespace

TEST_CASE("documents stand between empty lines, and each keeps its last newline") {
  const PackedSequence sequence = Text::parse("a\nb\n\n\n\ncde\n\nf", 1).sequence(1, 9);
  CHECK(std::multiset<std::int64_t>(sequence.documents.begin(), sequence.documents.end()) == std::multiset<std::int64_t>{4, 4, 1});
  CHECK(letters(sequence).find("a\nb\n") != std::string::npos);
  CHECK(letters(sequence).find("cde\n") != std::string::npos);
}

TEST_CASE("a target is the next byte of the same document, also where the sequence ends before it") {
  const Text text = Text::parse("abcdef\n", 1);
  const PackedSequence first = text.sequence(1, 3), second = text.sequence(2, 3);
  CHECK(letters(first) == "abc");
  CHECK(first.targets == std::vector<std::int32_t>{'b', 'c', 'd'});
  CHECK(letters(second) == "def");
  CHECK(second.targets == std::vector<std::int32_t>{'e', 'f', '\n'});
  CHECK(letters(text.sequence(3, 3)) == "abc");  // the text begins again; what is less than a sequence is left out
  const PackedSequence whole = text.sequence(1, 7);
  CHECK(whole.targets.back() == kNoTarget);
  CHECK(whole.target_count == 6);
}

TEST_CASE("sequences behind one another are the text, documents cut only at their ends") {
  const Text text = Text::parse(small_text(30), 5);
  std::string behind, whole = letters(text.sequence(1, 500));
  for (int step = 1; step <= 10; ++step) {
    const PackedSequence sequence = text.sequence(step, 50);
    behind += letters(sequence);
    CHECK(std::accumulate(sequence.documents.begin(), sequence.documents.end(), std::int64_t{0}) == 50);
    std::int64_t end = 0;
    for (std::size_t document = 0; document + 1 < sequence.documents.size(); ++document) {
      end += sequence.documents[document];
      CHECK(sequence.targets[end - 1] == kNoTarget);
    }
  }
  CHECK(behind == whole);
}

TEST_CASE("a seed fixes the order of documents, and another one gives another") {
  const auto order = [](std::uint64_t seed) { return letters(Text::parse(small_text(30), seed).sequence(1, 400)); };
  CHECK(order(1) == order(1));
  CHECK(order(1) != order(2));
}

TEST_CASE("a batch has the rows of its ranges at their positions in the whole sequence") {
  const PackedSequence sequence = Text::parse("abcdefgh\n", 1).sequence(1, 8);
  const Batch batch = batch_of(sequence, std::vector<Range>{{1, 3}, {6, 8}});
  CHECK(batch.tokens == std::vector<std::int32_t>{'b', 'c', 'g', 'h'});
  CHECK(batch.targets == std::vector<std::int32_t>{'c', 'd', 'h', '\n'});
  CHECK(batch.positions == std::vector<std::int64_t>{1, 2, 6, 7});
  CHECK(batch.gradient_scale == 1.0 / 8);
}

TEST_CASE("a text shorter than a sequence is refused with both lengths") {
  CHECK(says(refusal_of([] { Text::parse("abc\n", 1).sequence(1, 5); }), "has 4 bytes and a sequence 5"));
}
