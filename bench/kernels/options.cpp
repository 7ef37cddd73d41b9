#include "bench/kernels/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <sstream>
#include <stdexcept>

#include "bench/kernels/table.hpp"
#include "kernels/dispatch.hpp"

namespace gyre::bench {
namespace {

namespace po = boost::program_options;

/// What of a shape takes several values, of which every combination is timed.
struct Lists {
  std::vector<std::string> types, masks;
  std::vector<int> head_dims;
};

struct Choices {
  Shape shape;
  Lists lists;
  std::string pass, clock;
  bool tiny = false;
  bool over_dense = false;
};

po::options_description of_all(Choices& to) {
  po::options_description options("gyre_bench_kernels [--benchmark_filter=REGEX] [--benchmark_out=FILE]");
  auto add = options.add_options();
  add("help", "this text");
  add("isa", po::value(&to.shape.isa)->default_value(""), "instruction set, where a case names none; empty: the best");
  add("threads", po::value(&to.shape.threads)->default_value(1), "threads, where a case is not about them");
  add("clock", po::value(&to.clock)->default_value("wall"),
      "wall, or thread: what the processor spends on the calling thread, for machines that others use; cases of several "
      "threads are then left out");
  add("tiny", po::bool_switch(&to.tiny), "every case once, with few tokens: whether it runs and is right, not how fast");
  return options;
}

po::options_description of_one(Choices& to) {
  po::options_description options("A shape of your own, instead of the table; lists are combined");
  auto add = options.add_options();
  add("pass", po::value(&to.pass)->default_value("forward"), "forward, backward, or decode: its bound is reading");
  add("dtype", po::value(&to.lists.types)->multitoken()->default_value({"f32"}, "f32"), "types of cells: f32, bf16, f16");
  add("mask", po::value(&to.lists.masks)->multitoken()->default_value({"full"}, "full"),
      "mask expressions; blocks(0.05,64), columns(1000), diagonals(40,64) and slices(64) are drawn");
  add("head-dim", po::value(&to.lists.head_dims)->multitoken()->default_value({64}, "64"), "head dims");
  add("value-dim", po::value(&to.shape.value_dim)->default_value(0), "value dim; 0: the head dim");
  add("keys", po::value(&to.shape.keys)->default_value(4096), "key tokens");
  add("queries", po::value(&to.shape.queries)->default_value(0), "query tokens, at the end of the keys; 0: as many, to decode 1");
  add("group", po::value(&to.shape.group)->default_value(1), "query heads per key/value head");
  add("heads", po::value(&to.shape.heads)->default_value(1), "key/value heads");
  add("softcap", po::value(&to.shape.softcap)->default_value(0), "cap of scores; 0: none");
  add("alibi", po::bool_switch(&to.shape.alibi), "scores lose slope x distance");
  add("dropout", po::value(&to.shape.dropout)->default_value(0), "probability with which weights are dropped; 0: none");
  add("unit", po::value(&to.shape.unit_tokens)->default_value(0), "tokens of a unit; 0: the default rule");
  add("over-dense", po::bool_switch(&to.over_dense), "each in turns with dense attention of its kind, of at most 8,192 tokens");
  add("token-order", po::bool_switch(&to.shape.token_order), "rows lie in cells as tokens come, whatever suits the mask");
  add("strips", po::value(&to.shape.strips)->default_value(0), "strips per block; 0: the kernel's own");
  return options;
}

std::vector<Case> own_cases(const Choices& choices) {
  std::vector<Case> cases;
  for (const std::string& type : choices.lists.types) {
    for (const std::string& mask : choices.lists.masks) {
      for (const int dim : choices.lists.head_dims) {
        Shape shape = choices.shape;
        shape.pass = parse_pass(choices.pass);
        shape.type = parse_type(type);
        shape.mask = mask, shape.head_dim = dim;
        if (shape.pass == Pass::decode && shape.queries == 0) shape.queries = 1;
        require_valid(shape);
        cases.push_back(choices.over_dense ? case_over_dense(shape) : case_of(shape));
      }
    }
  }
  return cases;
}

/// Its own if one of its options was given.
bool names_a_shape(const po::variables_map& given, const po::options_description& of_one) {
  return std::any_of(of_one.options().begin(), of_one.options().end(), [&](const auto& option) {
    const std::string& name = option->long_name();
    return given.count(name) != 0 && !given[name].defaulted();
  });
}

std::vector<std::string> benchmark_defaults(bool tiny) {
  if (tiny) return {"--benchmark_repetitions=1", "--benchmark_min_time=1e-9"};
  return {"--benchmark_repetitions=5", "--benchmark_min_time=0.1"};
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Choices choices;
  const po::options_description all = of_all(choices), one = of_one(choices);
  po::options_description both;
  both.add(all).add(one);
  const po::parsed_options parsed = po::command_line_parser(argc, argv).options(both).allow_unregistered().run();
  po::variables_map given;
  po::store(parsed, given);
  po::notify(given);

  Options options{.clock = parse_clock(choices.clock), .arguments = benchmark_defaults(choices.tiny)};
  if (given.count("help") != 0) {
    std::ostringstream text;
    text << both;
    options.help = text.str();
  }
  const bool own = names_a_shape(given, one);
  if (own && choices.tiny) throw std::invalid_argument("--tiny is about the table: leave it out beside a shape of your own");
  options.cases =
      own ? own_cases(choices)
          : standard_cases(choices.tiny ? kTiny : Sizes{}, {.isa = choices.shape.isa, .threads = choices.shape.threads});
  if (options.clock == Clock::thread) {
    if (choices.shape.threads > 1) {
      throw std::invalid_argument("--threads is " + std::to_string(choices.shape.threads) +
                                  ": --clock thread times one thread only");
    }
    std::erase_if(options.cases, [](const Case& of) { return of.shape.threads > 1; });
  }
  for (const std::string& argument : po::collect_unrecognized(parsed.options, po::include_positional)) {
    options.arguments.push_back(argument);
  }
  return options;
}

}  // namespace gyre::bench
