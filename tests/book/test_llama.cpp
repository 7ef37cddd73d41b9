// A small Llama on several ranks against its definition in float64, and files that are none.
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "bench/longbook/llama_weights.hpp"
#include "bench/longbook/reading.hpp"
#include "bench/longbook/surprise.hpp"
#include "bench/transformer/linear.hpp"
#include "comm/loopback_transport.hpp"
#include "naive_llama.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace gyre::longbook;

namespace {

class ScratchFile {
 public:
  explicit ScratchFile(const std::string& bytes)
      : path_((std::filesystem::temp_directory_path() / ("gyre-llama-" + std::to_string(::getpid()) + ".gguf")).string()) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~ScratchFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<std::int32_t> drawn_text(std::int64_t tokens) {
  trainer::Random random(11);
  std::vector<std::int32_t> text;
  for (std::int64_t token = 0; token < tokens; ++token)
    text.push_back(static_cast<std::int32_t>(random.next() % kSmall.vocabulary));
  return text;
}

struct Loaded {
  LlamaShape shape;
  LlamaWeights weights;
};
Loaded load(const std::string& bytes) {
  const ScratchFile scratch(bytes);
  const GgufFile file(scratch.path());
  const LlamaShape shape = LlamaShape::from(file.header());
  return {shape, LlamaWeights::read(file, shape)};
}

Reading read_on(int ranks, const Loaded& loaded, const std::vector<std::int32_t>& text, const std::string& strategy,
                const std::string& partition) {
  Reading of_rank_0;
  run_loopback(ranks, [&](Transport& transport) {
    Llama model(loaded.shape, loaded.weights);
    ReadingOptions options;
    options.repeat = 2;
    options.attention.strategy = parse_strategy(strategy);
    options.attention.partition = PartitionChoice::parse(partition);
    options.attention.unit_tokens = 16;
    const Reading reading = read(transport, model, text, attention_of(loaded.shape, std::ssize(text)), options);
    if (transport.rank() == 0) of_rank_0 = reading;
  });
  return of_rank_0;
}

}  // namespace

TEST_CASE("a Llama on any number of ranks foretells each token as its definition does") {
  transformer::use_blas_threads(1);
  const SmallLlama small;
  const Loaded loaded = load(small.bytes());
  const std::vector<std::int32_t> text = drawn_text(137);
  const std::vector<double> wanted = NaiveLlama(small).losses(text);
  struct Case {
    int ranks;
    const char *strategy, *partition;
  };
  for (const Case& c : {Case{1, "ring", "contiguous"},
                        {2, "ring", "zigzag"},
                        {4, "ulysses", "striped"},
                        {3, "hybrid(3)", "balanced"},
                        {4, "all_gather", "contiguous"},
                        {4, "double_ring(2)", "striped(5)"}}) {
    INFO(c.ranks << " " << c.strategy << " " << c.partition);
    const Reading reading = read_on(c.ranks, loaded, text, c.strategy, c.partition);
    REQUIRE(reading.losses.size() == wanted.size());
    double worst = 0;
    for (std::size_t position = 0; position < wanted.size(); ++position)
      worst = std::max(worst, std::abs(reading.losses[position] - wanted[position]));
    CHECK(worst < 2e-5);
    CHECK(reading.rank_seconds.size() == static_cast<std::size_t>(c.ranks));
  }
}

TEST_CASE("layers whose heads choose all pairs, or those that a mask shows, read as if nobody chose, wherever their rows lie") {
  transformer::use_blas_threads(1);
  const SmallLlama small;
  const Loaded loaded = load(small.bytes());
  const std::vector<std::int32_t> text = drawn_text(237);
  const auto read_with = [&](int ranks, const char* partition, const char* mask, const char* choice, int chunk) {
    Reading of_rank_0;
    run_loopback(ranks, [&](Transport& transport) {
      Llama model(loaded.shape, loaded.weights);
      Problem problem = attention_of(loaded.shape, std::ssize(text));
      problem.mask = problem.mask & Mask::parse(mask);
      if (chunk > 0) problem.dual_chunk = DualChunk{.chunk = chunk, .local = 10};
      ReadingOptions options;
      options.attention.partition = PartitionChoice::parse(partition), options.attention.unit_tokens = 16;
      if (choice != nullptr) options.choices = {parse_sparse_choice(choice)};
      const Reading reading = read(transport, model, text, problem, options);
      if (transport.rank() == 0) of_rank_0 = reading;
    });
    return of_rank_0;
  };
  const auto same = [](const Reading& a, const Reading& b) {
    double worst = 0;
    for (std::size_t position = 0; position < a.losses.size(); ++position)
      worst = std::max(worst, static_cast<double>(std::abs(a.losses[position] - b.losses[position])));
    return worst < 2e-5;
  };
  for (const int chunk : {0, 50}) {
    const Reading whole = read_with(1, "contiguous", "full", nullptr, chunk);
    const Reading window = read_with(1, "contiguous", "window(19) | sinks(4)", nullptr, chunk);
    const Reading chosen = read_with(1, "contiguous", "full", "vertical_slash(31,100)", chunk);
    CHECK(whole.kept_share == 1);
    CHECK(chosen.kept_share < 1);
    CHECK(!same(chosen, whole));
    for (const auto& [ranks, partition] : {std::pair{1, "contiguous"}, {2, "zigzag"}, {3, "striped(5)"}, {4, "balanced"}}) {
      INFO(ranks << " ranks, " << partition << ", chunk " << chunk);
      const Reading all = read_with(ranks, partition, "full", "vertical_slash(1000,1000)", chunk);
      CHECK(same(all, whole));
      CHECK(all.kept_share == 1);
      CHECK(same(read_with(ranks, partition, "full", "a_shape(4,20)", chunk), window));
      const Reading again = read_with(ranks, partition, "full", "vertical_slash(31,100)", chunk);
      CHECK(same(again, chosen));
      CHECK(again.kept_share == chosen.kept_share);
    }
  }
}

TEST_CASE("ranks without a token read with the others") {
  transformer::use_blas_threads(1);
  const SmallLlama small;
  const Loaded loaded = load(small.bytes());
  const std::vector<std::int32_t> text = drawn_text(20);
  const std::vector<double> wanted = NaiveLlama(small).losses(text);
  const Reading reading = read_on(4, loaded, text, "ring", "contiguous");
  for (std::size_t position = 0; position < wanted.size(); ++position)
    CHECK(reading.losses[position] == Approx(wanted[position]).margin(2e-5));
  CHECK(reading.first_token_seconds > 0);
}

TEST_CASE("the first token is the likeliest behind the text") {
  transformer::use_blas_threads(1);
  const SmallLlama small;
  const Loaded loaded = load(small.bytes());
  std::vector<std::int32_t> text = drawn_text(50);
  const std::int32_t first = read_on(2, loaded, text, "ring", "contiguous").first_token;
  text.push_back(0);
  double least = 1e9;
  std::int32_t likeliest = 0;
  for (std::int32_t token = 0; token < kSmall.vocabulary; ++token) {
    text.back() = token;
    if (const double loss = NaiveLlama(small).losses(text).back(); loss < least) least = loss, likeliest = token;
  }
  CHECK(first == likeliest);
}

TEST_CASE("a row's surprise is -ln of its softmax, of large logits too") {
  const std::vector<float> logits = {1000, 1001, 999};
  const double sum = std::exp(-1) + 1 + std::exp(-2);
  CHECK(surprise(logits, 0) == Approx(1 + std::log(sum)).epsilon(1e-6));
  CHECK(surprise(logits, 1) == Approx(std::log(sum)).epsilon(1e-6));
}

TEST_CASE("tensors that are missing, of another size, not finite or not used are refused by name") {
  const auto message = [](const std::string& bytes) {
    try {
      load(bytes);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  SmallLlama small;
  CHECK(message(small.bytes()) == "accepted");
  CHECK_THAT(message(SmallLlama::metadata().bytes()), Catch::Contains("lacks the tensor token_embd.weight"));
  const GgufWriter metadata = SmallLlama::metadata();
  const std::string embedding(4 * kSmall.width * kSmall.vocabulary, 0), gain(4 * kSmall.width, 0), other(4 * 11, 0);
  const auto with_embedding = [&] { return GgufWriter(metadata).tensor("token_embd.weight", {12, 40}, 0, embedding); };
  CHECK_THAT(message(with_embedding().bytes()), Catch::Contains("lacks the tensor blk.0.attn_norm.weight"));
  CHECK_THAT(message(with_embedding().tensor("blk.0.attn_norm.weight", {11}, 0, other).bytes()),
             Catch::Contains("has blk.0.attn_norm.weight of [1, 11]; its metadata want [1, 12]"));
  small.tensors.at("blk.1.ffn_up.weight")[3] = NAN;
  CHECK_THAT(message(small.bytes()), Catch::Contains("a value in blk.1.ffn_up.weight that is not finite"));
}

TEST_CASE("metadata of what is not computed are refused by name") {
  const auto shape_of = [](const GgufWriter& writer) {
    const std::string bytes = writer.bytes();
    return LlamaShape::from(GgufHeader::parse(bytes, static_cast<std::int64_t>(bytes.size())));
  };
  CHECK_THROWS_WITH(shape_of(GgufWriter().words("general.architecture", "gpt2")), Catch::Contains("architecture 'gpt2'"));
  CHECK_THROWS_WITH(shape_of(SmallLlama::metadata().integer("llama.expert_count", 8)), Catch::Contains("8 experts"));
  CHECK_THROWS_WITH(shape_of(SmallLlama::metadata().words("llama.rope.scaling.type", "linear")),
                    Catch::Contains("scaling.type 'linear'"));
  CHECK_THROWS_WITH(shape_of(SmallLlama::metadata().integer("llama.attention.value_length", 4)),
                    Catch::Contains("another length than keys"));
  GgufWriter uneven;
  uneven.words("general.architecture", "llama").integer("llama.block_count", 0);
  CHECK_THROWS_WITH(shape_of(uneven), Catch::Contains("llama.block_count 0; 1 to"));
}
