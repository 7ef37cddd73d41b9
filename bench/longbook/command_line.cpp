#include "bench/longbook/command_line.hpp"

#include <boost/program_options.hpp>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace gyre::longbook {
namespace {

using Words = std::vector<std::string>;

void require_at_least(std::int64_t least, std::int64_t given, const std::string& option) {
  if (given < least)
    throw std::invalid_argument(option + " " + std::to_string(given) + " is too few; give at least " + std::to_string(least));
}

void validate(const Command& command) {
  if (command.model_file.empty())
    throw std::invalid_argument("there is no model; give --model FILE.gguf (bench/longbook/fetch_model)");
  if (command.text_file.empty()) throw std::invalid_argument("there is no text; give --text FILE");
  require_at_least(2, command.tokens, "--tokens");
  require_at_least(1, command.repeat, "--repeat");
  require_at_least(1, command.bin_tokens, "--bin");
  command.attention.validate();
}

/// Two numbers with a comma between.
template <class First>
std::pair<First, std::int64_t> parse_two(const std::string& option, const std::string& text) {
  std::istringstream in(text);
  std::pair<First, std::int64_t> two;
  char comma = 0;
  if (!(in >> two.first >> comma >> two.second) || comma != ',' || in.peek() != std::istringstream::traits_type::eof())
    throw std::invalid_argument(option + " '" + text + "' is not understood; give two numbers with a comma between");
  return two;
}

}  // namespace

Command parse_command_line(int argc, char** argv) {
  namespace po = boost::program_options;
  Command command;
  Words strategies, partitions;
  std::string type, yarn, dual_chunk;
  const auto value = [](auto* target) { return po::value(target)->default_value(*target); };
  const auto words = [](Words* target, const std::string& otherwise) {
    return po::value(target)->multitoken()->default_value({otherwise}, otherwise);
  };
  po::options_description options("gyre_bench_longbook --model FILE --text FILE [options], under mpirun or alone");
  auto add = options.add_options();
  add("help", "this text");
  add("model", po::value(&command.model_file), "a Llama in a .gguf file");
  add("text", po::value(&command.text_file), "in UTF-8");
  add("tokens", value(&command.tokens), "read from the text's beginning");
  add("strategy", words(&strategies, "ring"), "as of gyre run; several: a reading with each");
  add("partition", words(&partitions, "auto"), "as of gyre run; several: a reading with each");
  add("mask", value(&command.mask), "as of gyre run; causal as well, whatever it is");
  add("yarn", po::value(&yarn), "SCALE,ORIGINAL, as of gyre run; the model's base");
  add("dual-chunk", po::value(&dual_chunk), "CHUNK,LOCAL, as of gyre run");
  add("sparse", po::value(&command.sparse), "pairs that query heads choose in every layer anew, as of gyre run");
  add("dtype", po::value(&type)->default_value("f32"), "of cells, as of gyre run");
  add("unit", value(&command.attention.unit_tokens), "tokens, as of gyre run");
  add("threads", value(&command.attention.threads), "of a rank, in attention and in the BLAS");
  add("repeat", value(&command.repeat), "forward passes; times are of the median one");
  add("bin", value(&command.bin_tokens), "positions whose losses are averaged in the JSON file");
  add("tolerance", po::value(&command.tolerance)->default_value(1e-4),
      "of several readings: status 1 if a perplexity is further than that, relative, from the first");
  add("json", po::value(&command.json_file), "all figures");
  add("encode", po::value(&command.encode_file), "instead of reading: the tokens of all of the text, int32");

  po::variables_map given;
  po::store(po::parse_command_line(argc, argv, options), given);
  po::notify(given);
  if (given.count("help") != 0) {
    std::ostringstream text;
    text << options;
    command.help = text.str();
    return command;
  }
  for (const std::string& strategy : strategies) command.strategies.push_back(parse_strategy(strategy));
  for (const std::string& partition : partitions) command.partitions.push_back(PartitionChoice::parse(partition));
  command.type = parse_type(type);
  if (!yarn.empty()) {
    const auto [scale, original_tokens] = parse_two<double>("--yarn", yarn);
    command.yarn = {scale, original_tokens};
  }
  if (!dual_chunk.empty()) {
    const auto [chunk, local] = parse_two<std::int64_t>("--dual-chunk", dual_chunk);
    command.dual_chunk = {.chunk = chunk, .local = local};
  }
  if (!command.sparse.empty()) command.choices = read_sparse_choices(command.sparse);
  validate(command);
  return command;
}

}  // namespace gyre::longbook
