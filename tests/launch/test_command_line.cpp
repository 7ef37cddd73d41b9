// The command line: what is taken, what is refused, and with which words.
#include "launch/command_line.hpp"
#include "launch/launcher.hpp"
#include "launch/option_names.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

using Arguments = std::vector<std::string>;

RunRequest parse(Arguments arguments, bool launched = false) {
  arguments.insert(arguments.begin(), "run");
  return parse_command_line(arguments, launched).run.value();
}

std::string refusal(Arguments arguments, bool launched = false) {
  try {
    parse(std::move(arguments), launched);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("defaults are those of the contract") {
  const RunRequest request = parse({"--q", "q.npy", "--k", "k.npy", "--v", "v.npy"});
  CHECK_FALSE(request.synthetic);
  CHECK(request.query_file == "q.npy");
  CHECK(request.mask.text() == "full");
  CHECK_FALSE(request.query_offset);
  CHECK_FALSE(request.scale);
  CHECK_FALSE(request.threads);
  CHECK_FALSE(request.repetitions);
  CHECK(request.ranks == 1);
  CHECK(request.check_rows == 0);
  CHECK(request.options.strategy == Strategy::automatic);
  CHECK(request.options.partition == PartitionChoice{});
  CHECK(request.options.unit_tokens == 0);
}

TEST_CASE("synthetic key/value heads default to the heads, and the value dim to the head dim") {
  const RunRequest request = parse({"--synthetic", "100", "--heads", "6", "--head-dim", "48"});
  CHECK(request.synthetic->tokens == 100);
  CHECK(request.synthetic->key_heads == 6);
  CHECK(request.synthetic->value_dim == 48);
  CHECK(parse({"--synthetic=100", "--kv-heads=2"}).synthetic->key_heads == 2);
}

TEST_CASE("a negative number is a value and not an option") {
  CHECK(parse({"--synthetic", "9", "--query-offset", "-3"}).query_offset == -3);
  CHECK(parse({"--synthetic", "9", "--query-offset=-3"}).query_offset == -3);
  CHECK(parse({"--synthetic", "9", "--scale", "-0.5"}).scale == -0.5);
  CHECK(parse({"--synthetic", "9", "--softcap", "50"}).softcap == 50);
  CHECK(parse({"--synthetic", "9"}).options.integrity == Integrity::unchecked);
  CHECK(parse({"--synthetic", "9", "--integrity"}).options.integrity == Integrity::checked);
}

TEST_CASE("names of the contract that are not built are refused by name, with a value, without, and joined by =") {
  for (const char* name : {"reproducible"}) {
    const std::string option = std::string("--") + name, expected = option + " is not built yet; remove it";
    CHECK(refusal({"--synthetic", "9", option}) == expected);
    CHECK(refusal({"--synthetic", "9", option, "30"}) == expected);
    CHECK(refusal({option + "=30", "--synthetic", "9"}) == expected);
  }
}

TEST_CASE("rotary positions have a base, a layout and dims, and one scaling at most") {
  CHECK(!parse({"--synthetic", "9"}).rotary);
  CHECK(*parse({"--synthetic", "9", "--rope", "10000"}).rotary == Rotary{});
  CHECK(*parse({"--synthetic", "9", "--rope", "5e5,interleaved,32"}).rotary ==
        Rotary{.base = 500000, .layout = RotaryLayout::interleaved, .dims = 32});
  CHECK(*parse({"--synthetic", "9", "--rope", "10000,half", "--yarn", "4,4096"}).rotary ==
        Rotary{.scaling = RotaryScaling::yarn, .scale = 4, .original_tokens = 4096});
  CHECK(*parse({"--synthetic", "9", "--rope", "10000", "--rope-linear", "2.5"}).rotary ==
        Rotary{.scaling = RotaryScaling::linear, .scale = 2.5});
  CHECK(*parse({"--synthetic", "9", "--rope", "10000", "--rope-ntk", "8"}).rotary ==
        Rotary{.scaling = RotaryScaling::ntk, .scale = 8});
  for (const char* rope : {"", "x", "1", "10000,", "10000,full", "10000,half,", "10000,half,0", "10000,half,578", "10000,half,8,8"})
    CHECK(refusal({"--synthetic", "9", std::string("--rope=") + rope}).starts_with("--rope"));
  for (const char* yarn : {"4", "0.5,10", "4,0", "4,4096,1", "4,x"})
    CHECK(refusal({"--synthetic", "9", "--rope", "10000", "--yarn", yarn}).starts_with("--yarn is '"));
  CHECK(refusal({"--synthetic", "9", "--rope-ntk", "2"}).find("give --rope BASE") != std::string::npos);
  CHECK(refusal({"--synthetic", "9", "--rope", "10000", "--yarn", "4,4096", "--rope-ntk", "2"}) ==
        "--yarn and --rope-ntk exclude each other; remove one");
}

TEST_CASE("dual chunk attention has a chunk, a local window and perhaps an original length, with rotary positions") {
  CHECK(!parse({"--synthetic", "9", "--rope", "10000"}).dual_chunk);
  CHECK(*parse({"--synthetic", "9", "--rope", "10000", "--dual-chunk", "3072,512"}).dual_chunk ==
        DualChunk{.chunk = 3072, .local = 512});
  CHECK(*parse({"--synthetic", "9", "--rope", "10000", "--dual-chunk", "8,0,4096"}).dual_chunk ==
        DualChunk{.chunk = 8, .local = 0, .original_tokens = 4096});
  for (const char* given : {"8", "8,", "8,1,2,3", "8,x", "-8,1", "8,1,"})
    CHECK(refusal({"--synthetic", "9", "--rope", "10000", "--dual-chunk", given}).starts_with("--dual-chunk is '"));
  CHECK(refusal({"--synthetic", "9", "--rope", "10000", "--dual-chunk", "8,8"}).find("give 0 to 7") != std::string::npos);
  CHECK(refusal({"--synthetic", "9", "--dual-chunk", "8,2"}).find("give --rope BASE") != std::string::npos);
}

TEST_CASE("slopes, sinks and dropout are asked for, and dropout wants a probability and a seed") {
  const RunRequest plain = parse({"--synthetic", "9"});
  CHECK(plain.bias == PositionBias::none);
  CHECK(plain.sinks_file.empty());
  CHECK(!plain.dropout);
  const RunRequest all =
      parse({"--synthetic", "9", "--alibi", "--sinks-logits", "s.npy", "--dropout", "0.25,18446744073709551615"});
  CHECK(all.bias == PositionBias::alibi);
  CHECK(all.sinks_file == "s.npy");
  CHECK(all.dropout->probability == 0.25);
  CHECK(all.dropout->seed == 18446744073709551615U);
  for (const char* text :
       {"0.1", "0.1,", ",3", "1,3", "-0.1,3", "0.1,-3", "0.1,3,4", "0.1;3", "nan,3", "0.1,18446744073709551616", "0.1, 3"}) {
    const std::string message = refusal({"--synthetic", "9", "--dropout", text});
    CHECK(message.starts_with("--dropout is '" + std::string(text) + "'; give a probability from 0 to 0.999, a comma and a seed"));
  }
}

TEST_CASE("values of the contract that are not built are refused by name") {
  CHECK(parse({"--synthetic", "9"}).type == Type::f32);
  CHECK(parse({"--synthetic", "9", "--dtype", "bf16"}).type == Type::bf16);
  CHECK(parse({"--synthetic", "9", "--dtype", "f16", "--device", "cpu"}).type == Type::f16);
  CHECK(refusal({"--synthetic", "9", "--dtype", "int4"}) == "--dtype is 'int4'; use f32, bf16 or f16");
  CHECK(refusal({"--synthetic", "9", "--device", "cuda"}) == "--device cuda is not built yet; use cpu or auto");
  CHECK(refusal({"--synthetic", "9", "--mask", "blocks(b.npy,64)"}).find("blocks(FILE,B)") != std::string::npos);
}

TEST_CASE("the type of the output is one that its file can have, and is asked for where there is an output") {
  const auto type_of = [](const char* out, const char* type) {
    return parse({"--synthetic", "9", "--out", out, "--out-dtype", type}).out_type;
  };
  CHECK(parse({"--synthetic", "9", "--out", "x.npy"}).out_type == FileType::f32);
  CHECK(type_of("x.npy", "f16") == FileType::f16);
  CHECK(type_of("x.npy", "float64") == FileType::f64);
  CHECK(type_of("x.safetensors", "bf16") == FileType::bf16);
  CHECK(refusal({"--synthetic", "9", "--out", "x.npy", "--out-dtype", "bf16"}).find("give a name in .safetensors") !=
        std::string::npos);
  CHECK(refusal({"--synthetic", "9", "--out", "x.npy", "--out-dtype", "int8"}) ==
        "--out-dtype is 'int8'; use f32, f16, bf16 or f64");
  CHECK(refusal({"--synthetic", "9", "--lse", "x.npy", "--out-dtype", "f16"}).find("belongs to --out") != std::string::npos);
  CHECK(refusal({"--synthetic", "9", "--out", "x.txt"}).find("does not end in .npy or .safetensors") != std::string::npos);
}

TEST_CASE("files of one format given where the other is read are told where they belong") {
  CHECK(refusal({"--q", "a.safetensors", "--k", "b", "--v", "c"}).find("as --input") != std::string::npos);
  CHECK(refusal({"--input", "a.npy"}).find("as --q, --k and --v") != std::string::npos);
}

TEST_CASE("an option without its value says what to give") {
  CHECK(refusal({"--q"}) == "--q needs a value; give one: --q FILE");
  CHECK(refusal({"--="}).find("options are --NAME VALUE") != std::string::npos);
  CHECK(refusal({"--synthetic="}) == "--synthetic needs a value; give one: --synthetic TOKENS");
  CHECK(refusal({"--q", "--k", "x"}).starts_with("--q needs a value, and --k follows it; give one"));
}

TEST_CASE("an unknown option is named, with the nearest name where there is one") {
  CHECK(refusal({"--synthetc", "9"}) == "unknown option --synthetc; did you mean --synthetic?");
  CHECK(refusal({"--kv-head", "9"}) == "unknown option --kv-head; did you mean --kv-heads?");
  CHECK(refusal({"--sofcap", "9"}) == "unknown option --sofcap; did you mean --softcap?");
  CHECK(refusal({"--frobnicate"}) == "unknown option --frobnicate; gyre run --help lists those there are");
  CHECK(refusal({"--h"}).starts_with("unknown option --h;"));
}

TEST_CASE("what is told of a run is taken as it was asked for") {
  CHECK(parse({"--synthetic", "9"}).live == LiveWhen::on_a_terminal);
  CHECK(parse({"--synthetic", "9", "--live", "always"}).live == LiveWhen::always);
  CHECK(parse({"--synthetic", "9", "--live", "never"}).live == LiveWhen::never);
  CHECK(refusal({"--synthetic", "9", "--live", "yes"}) == "--live is 'yes'; use auto, always or never");
  CHECK(parse({"--synthetic", "9", "--trace", "t.json"}).trace_file == "t.json");
  CHECK(refusal({"--synthetic", "9", "--trace"}).starts_with("--trace needs a value"));
  CHECK_FALSE(parse({"--synthetic", "9"}).measure_overlap);
  CHECK(parse({"--measure-overlap", "--synthetic", "9"}).measure_overlap);
  CHECK(refusal({"--synthetic", "9", "--measure-overlap", "yes"}) != "accepted");
  CHECK(refusal({"--synthetic", "9", "--measure-overlap=yes"}) == "--measure-overlap takes no value; give --measure-overlap alone");
}

TEST_CASE("contradictions are refused") {
  CHECK(refusal({}).starts_with("there is no input"));
  CHECK(refusal({"--q", "q", "--k", "k"}) == "--v is missing; --q, --k and --v go together");
  CHECK(refusal({"--k", "k", "--v", "v"}) == "--q is missing; --q, --k and --v go together");
  CHECK(refusal({"--q", "q", "--synthetic", "9"}) == "--synthetic and --q exclude each other; remove one");
  const Arguments files = {"--q", "q", "--k", "k", "--v", "v"};
  for (const char* name : {"--heads", "--kv-heads", "--head-dim", "--value-dim"}) {
    Arguments arguments = files;
    arguments.insert(arguments.end(), {name, "2"});
    CHECK(refusal(arguments).starts_with(std::string(name) + " belongs to --synthetic"));
  }
  CHECK(refusal({"--synthetic", "9", "--ranks", "2"}, true).starts_with("--ranks is for runs without mpirun"));
  CHECK(refusal({"--synthetic", "9", "--ranks", "2"}) == "accepted");
}

TEST_CASE("a value that is missing, given twice, or not a number of the range is refused") {
  CHECK(refusal({"--synthetic"}).find("--synthetic") != std::string::npos);
  CHECK(refusal({"--q", "--k", "k", "--v", "v"}).starts_with("--q needs a value, and --k follows it"));
  CHECK(refusal({"--synthetic="}).find("--synthetic") != std::string::npos);
  CHECK(refusal({"--synthetic", "9", "--synthetic", "8"}) == "--synthetic is given twice; give it once");
  CHECK(refusal({"--synthetic", "9", "stray"}).starts_with("unexpected argument 'stray'"));
  for (const char* value : {"x", "1.5", "9x", " 9", "-1", "99999999999999999999", ""})
    CHECK(refusal({"--synthetic", value}).starts_with("--synthetic "));
  for (const char* name : {"--heads", "--ranks", "--threads", "--repeat", "--check", "--unit"})
    CHECK(refusal({"--synthetic", "9", name, "0"}).starts_with(std::string(name) + " is '0'; give a whole number from 1 to "));
  for (const char* value : {"nan", "-nan", "inf", "1e999", "one", "1e7"})
    CHECK(refusal({"--synthetic", "9", "--scale", value})
              .ends_with("is '" + std::string(value) + "'; give a number from -1e+06 to 1e+06"));
}

TEST_CASE("an option has one limit, that of the library, which help tells and up to which it is taken") {
  struct Limit {
    const char* name;
    std::int64_t most;
  };
  const std::string help = parse_command_line({"--help"}, false).text;
  for (const Limit limit : {Limit{"--synthetic", 2147483648},
                            {"--heads", 65535},
                            {"--kv-heads", 65535},
                            {"--head-dim", 576},
                            {"--value-dim", 576},
                            {"--unit", 2048},
                            {"--query-offset", 2147483648},
                            {"--threads", 1024},
                            {"--prefetch", 4}}) {
    INFO(limit.name);
    const std::string most = std::to_string(limit.most), beyond = std::to_string(limit.most + 1);
    const auto with = [&](const std::string& value) {
      Arguments arguments = {limit.name, value};
      if (arguments[0] != "--synthetic") arguments.insert(arguments.end(), {"--synthetic", "9"});
      if (arguments[0] == "--kv-heads") arguments.insert(arguments.end(), {"--heads", "65535"});
      return refusal(arguments);
    };
    CHECK(with(most) == "accepted");
    CHECK(with(beyond).starts_with(std::string(limit.name) + " is '" + beyond + "'; give a whole number from "));
    CHECK(with(beyond).ends_with(" to " + most));
    CHECK(help.find(" to " + most) != std::string::npos);
  }
  CHECK(refusal({"--synthetic", "9", "--heads", "6", "--kv-heads", "4"}).starts_with("--kv-heads is 4 and --heads 6; make"));
  CHECK(refusal({"--synthetic", "9", "--softcap", "0"}) == "--softcap is '0'; give a number from 1e-06 to 1e+06");
}

TEST_CASE("subcommands are required, and unknown ones refused by name") {
  const auto message = [](const Arguments& arguments) {
    try {
      parse_command_line(arguments, false);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK(message({}).starts_with("there is no subcommand"));
  CHECK(message({"--q", "q.npy"}).starts_with("there is no subcommand"));
  CHECK(message({"plan", "--ranks", "4"}) == "--tokens is missing; gyre plan needs --ranks and --tokens");
  CHECK(message({"plan", "--ranks", "4", "--tokens", "100"}) == "accepted");
  CHECK(message({"topo"}) == "accepted");
  CHECK(message({"jog"}).starts_with("unknown subcommand 'jog'"));
}

TEST_CASE("help lists every option that is taken, and needs no input") {
  for (const Arguments& arguments :
       {Arguments{"--help"}, {"run", "--help"}, {"-h"}, {"help"}, {"run", "-h"}, {"run", "--synthetic", "9", "-h"}}) {
    const Command command = parse_command_line(arguments, false);
    CHECK_FALSE(command.run);
    for (const char* name : {"--q", "--synthetic", "--query-offset", "--report", "--check", "--isa"})
      CHECK(command.text.find(name) != std::string::npos);
  }
  CHECK(parse_command_line({"run", "--version"}, false).text.starts_with("gyre "));
  CHECK(parse_command_line({"version"}, false).text == parse_command_line({"--version"}, false).text);
  CHECK(parse_command_line({"topo", "-h"}, false).text == topo_help());
  CHECK(refusal({"--synthetic", "9", "--out", "-h"}).starts_with("--out needs a value"));
}

TEST_CASE("what must be the same on every rank is what was given, without the threads") {
  const RunRequest request = parse({"--synthetic", "9", "--threads", "2", "--mask", "causal"});
  CHECK(request.given == std::vector<std::pair<std::string, std::string>>{{"--mask", "causal"}, {"--synthetic", "9"}});
}

TEST_CASE("processes that do not see each other are refused, whoever started them") {
  CHECK_NOTHROW(require_one_job({.present = true, .ranks = 4, .rank = 0}, 4));
  CHECK_NOTHROW(require_one_job({.present = true, .ranks = 0, .rank = 0}, 4));
  CHECK_THROWS_AS(require_one_job({.present = true, .ranks = 4, .rank = 0}, 1), std::invalid_argument);
}
