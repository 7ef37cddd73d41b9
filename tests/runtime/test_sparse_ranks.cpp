// Masks that heads choose: the same on any ranks, what heads see of them, and attention with them.
#include <bit>
#include <string>

#include "runtime/mechanism/recall.hpp"
#include "sparse_case.hpp"
#include "support/catch.hpp"
#include "support/gradients.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

constexpr const char* kChoices[] = {
    "a_shape(20,100)", "vertical_slash(60,300)", "block_topk(6)", "xattention(16,0.7)", "moba(80,4)", "dense"};

std::vector<SparseChoice> choices_of(std::initializer_list<const char*> texts) {
  std::vector<SparseChoice> choices;
  for (const char* text : texts) choices.push_back(parse_sparse_choice(text));
  return choices;
}

std::string refusal(const Problem& problem, const std::vector<SparseChoice>& choices) {
  try {
    require_choices(problem, choices);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("every choice selects the same pairs on 1, 2, 3, 4, 5 and 8 ranks, wherever their rows lie, in f32 and bf16") {
  for (const Type type : {Type::f32, Type::bf16}) {
    SparseCase job(1237, 4, 2, 16, 21);
    job.problem.type = type;
    for (const char* text : kChoices) {
      INFO(text);
      check_alike_on_ranks(job, {parse_sparse_choice(text)});
    }
  }
}

TEST_CASE("with rotary positions heads choose, and recall, as if the rows had come turned, on any ranks and wherever they lie") {
  SparseCase job(1237, 4, 2, 16, 28);
  job.problem.rotary = Rotary{.base = 1000, .dims = 12};
  SparseCase turned = job;
  turned.problem.rotary.reset();
  const RotaryTable table(*job.problem.rotary, 16, select_kernels());
  for (auto* tensor : {&turned.tensors.queries, &turned.tensors.keys}) {
    const std::int64_t heads = std::ssize(*tensor) / (16 * job.tokens());
    for (std::int64_t token = 0; token < job.tokens(); ++token) {
      Turner turner(table, {.first = token / 64 * 64});
      for (std::int64_t step = 0; step < token % 64; ++step) turner.advance();
      for (std::int64_t head = 0; head < heads; ++head) turner.turn(tensor->data() + (token * heads + head) * 16);
    }
  }
  for (const char* text : kChoices) {
    const std::vector<SparseChoice> choices{parse_sparse_choice(text)};
    const Mask mask = mask_of(turned, choices);
    if (estimates(choices[0]))
      CHECK(contents(mask) != contents(mask_of(
                                  [&] {
                                    SparseCase plain = job;
                                    plain.problem.rotary.reset();
                                    return plain;
                                  }(),
                                  choices)));
    for (const int ranks : {1, 3}) {
      for (const RowMap& placement : placements(job.tokens(), ranks)) {
        const auto step = [&](const Problem& problem) {
          return [&](Transport& transport, Team& team, const EstimateRows& rows) {
            const std::vector<std::int64_t> sample{3, 600, 1236};
            std::vector<std::uint64_t> all = contents(estimate_mask(transport, team, select_kernels(), problem, rows, choices));
            const Recall recall = measure_recall(transport, team, select_kernels(), problem, mask, rows, sample);
            all.insert(all.end(), {std::bit_cast<std::uint64_t>(recall.mean), std::bit_cast<std::uint64_t>(recall.least)});
            return all;
          };
        };
        const auto found = on_ranks<std::vector<std::uint64_t>>(job, ranks, placement, step(job.problem));
        const auto expected = on_ranks<std::vector<std::uint64_t>>(turned, ranks, placement, step(turned.problem));
        INFO(text << ", " << ranks << " ranks");
        CHECK((found && found == expected));
      }
    }
  }
}

TEST_CASE("selections are the same for fewer tokens than ranks, one token, and none") {
  for (const std::int64_t tokens : {0, 1, 3, 65}) {
    const SparseCase job(tokens, 2, 1, 5, 22);
    for (const char* text : kChoices) {
      const std::vector<SparseChoice> choices{parse_sparse_choice(text)};
      const Mask mask = mask_of(job, choices);
      for (const int ranks : {2, 5}) {
        const auto found = on_ranks<std::vector<std::uint64_t>>(
            job, ranks, placements(tokens, ranks)[0], [&](Transport& transport, Team& team, const EstimateRows& rows) {
              return contents(estimate_mask(transport, team, select_kernels(), job.problem, rows, choices));
            });
        INFO(text << ", " << tokens << " tokens, " << ranks << " ranks");
        CHECK((found && *found == contents(mask)));
      }
      for (std::int64_t i = 0; i < tokens; ++i) CHECK(mask.bands().visible(i, i, 1));  // so few that nothing is left out
    }
  }
}

TEST_CASE("heads that choose differently see each their own choice, also those that share keys") {
  const SparseCase job(600, 6, 2, 8, 23);
  const auto mixed = mask_of(
      job, choices_of({"a_shape(20,100)", "vertical_slash(60,300)", "block_topk(6)", "xattention(16,0.7)", "moba(80,4)", "dense"}));
  for (int head = 0; head < 6; ++head) {
    const Mask alone = mask_of(job, {parse_sparse_choice(kChoices[head])});
    int different = 0, seen = 0;
    for (std::int64_t i = 0; i < 600; ++i) {
      for (std::int64_t j = 0; j < 600; ++j) {
        const bool visible = mixed.bands().visible(i, j, head);
        different += visible != alone.bands().visible(i, j, head);
        seen += visible;
        if (head == 0) different += visible != (j <= i && (j < 20 || i - j < 100));
        if (head == 5) different += visible != (j <= i);
      }
    }
    INFO(kChoices[head]);
    CHECK(different == 0);
    CHECK((head == 5) == (seen == 600 * 601 / 2));
  }
}

TEST_CASE("results and gradients under chosen masks are those of the definition, on ranks that the work is dealt to") {
  Job job;
  SparseCase sparse(300, 4, 2, 8, 24);
  for (const char* text : {"vertical_slash(40,128)", "block_topk(2)", "xattention(16,0.5)", "moba(32,3)"}) {
    job.problem = sparse.problem;
    job.problem.mask = mask_of(sparse, {parse_sparse_choice(text)});
    job.options.partition = PartitionChoice::parse("balanced");
    job.options.backward = Backward::keys_travel;
    job.options.unit_tokens = 32;
    const std::vector<float> grad_out = random_grad_out(job.problem, 25, 1);
    for (const int ranks : {1, 3}) {
      INFO(text << ", " << ranks << " ranks");
      const Errors errors = compare(job.problem, sparse.tensors, run_loopback_job(job, sparse.tensors, ranks));
      CHECK(errors.share_of_bound <= 1);
      Gradients gradients(job.problem);
      run_loopback(ranks, [&](Transport& transport) { run_rank(transport, job, sparse.tensors, grad_out, gradients); });
      CHECK(compare(job.problem, sparse.tensors, grad_out, gradients).share_of_bound <= 1);
    }
  }
}

TEST_CASE("what a choice cannot be made for is refused by name, with a remedy") {
  const SparseCase job(64, 2, 1, 8, 26);
  const auto with = [&](auto&& change, const char* choice) {
    Problem problem = job.problem;
    change(problem);
    return refusal(problem, {parse_sparse_choice(choice)});
  };
  for (const char* choice : {"vertical_slash(60,300)", "block_topk(6)", "xattention(16,0.7)", "moba(80,4)"}) {
    CHECK_THAT(with([](Problem& p) { p.mask = Mask::full(); }, choice), Catch::Contains(choice) && Catch::Contains("causal"));
    CHECK_THAT(with([](Problem& p) { p.query_offset = 1; }, choice), Catch::Contains("self-attention"));
    CHECK_THAT(with([](Problem& p) { p.softcap = 30; }, choice), Catch::Contains("cap"));
    CHECK_THAT(with([](Problem& p) { p.bias = PositionBias::alibi; }, choice), Catch::Contains("ALiBi"));
    CHECK_THAT(with([](Problem& p) { p.sinks = SinkLogits::learned; }, choice), Catch::Contains("sink"));
    const std::string chunked =
        with([](Problem& p) { p.rotary.emplace(), p.dual_chunk = DualChunk{.chunk = 32, .local = 8}; }, choice);
    CHECK((choice[0] == 'v' ? chunked == "accepted" : chunked.find("dual chunk") != std::string::npos));
    CHECK(with([](Problem&) {}, choice) == "accepted");
  }
  CHECK(with([](Problem& p) { p.mask = Mask::full(), p.softcap = 30; }, "a_shape(4,8)") == "accepted");
  CHECK_THAT(refusal(job.problem, choices_of({"dense", "dense", "dense"})),
             Catch::Contains("3 sparse choices") && Catch::Contains("2 query heads"));
  for (const char* text : {"moba", "moba(4)", "moba(0,4)", "xattention(7,0.9)", "xattention(16,0)", "xattention(16,1.5)",
                           "xattention(16,nan)", "vertical_slash(29,300)", "vertical_slash(30,99)", "block_topk(-1)",
                           "block_topk(6", "a_shape(4,0)", "dense(1)", "flex(3)", ""})
    CHECK_THROWS_AS(parse_sparse_choice(text), std::invalid_argument);
  for (const char* text : kChoices) CHECK(to_string(parse_sparse_choice(text)) == text);
}

TEST_CASE("rows that do not cover the sequence once, and ranks that choose differently, are refused on every rank") {
  const SparseCase job(64, 2, 1, 8, 27);
  const auto heard = [&](const RowMap& placement, auto&& choice_of) {
    return on_ranks<std::string>(job, 2, placement, [&](Transport& transport, Team& team, const EstimateRows& rows) -> std::string {
      try {
        estimate_mask(transport, team, select_kernels(), job.problem, rows, std::vector<SparseChoice>{choice_of(transport.rank())});
      } catch (const std::invalid_argument& error) {
        return error.what();
      }
      return "accepted";
    });
  };
  const auto same = [](int) { return Moba{8, 2}; };
  CHECK(heard({{{0, 30}}, {{30, 64}}}, same) == "accepted");
  CHECK_THAT(heard({{{0, 30}}, {{31, 64}}}, same).value(), Catch::Contains("64 tokens once"));
  CHECK_THAT(heard({{{0, 31}}, {{30, 64}}}, same).value(), Catch::Contains("64 tokens once"));
  CHECK_THAT(heard({{{0, 30}}, {{30, 64}}}, [](int rank) { return Moba{8, 2 + rank}; }).value(), Catch::Contains("disagree"));
}
