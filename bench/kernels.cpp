// gyre_bench_kernels: attend on one rank, beside the processor's multiply-add peak measured in the same run.
//
// Every repeat is timed between two runs of a register-only multiply-add loop on as many threads, and its share is that of their
// mean: on a shared machine the clock and the neighbours change from second to second, the share does not. With --queries, as in
// decoding, the bound is reading: the keys and values that an attend reads, over a loop that only reads them.
#include <algorithm>
#include <atomic>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attend.hpp"
#include "kernels/convert.hpp"
#include "kernels/pack.hpp"
#include "kernels/reference.hpp"
#include "partition/mask.hpp"
#include "partition/units.hpp"

namespace gyre {
namespace {

struct Settings {
  std::int64_t tokens = 4096;
  std::int64_t queries = 0;  // 0: as many as keys; at their end
  std::int64_t unit = 0;     // 0: the default rule
  int heads = 1;             // key/value heads
  int group = 1;
  int threads = 1;
  int repeats = 7;
  int strips = 0;
  std::string isa;
  std::string json;
  std::vector<int> dims;
  std::vector<std::string> masks;
  std::vector<std::string> types;
  double softcap = 0;  // 0: none
};

struct Result {
  int dim;
  Type type;
  std::string mask;
  double seconds;         // median of one attend
  double flops;           // 2 x visible pairs x query heads x (head dim + value dim)
  double peak_fraction;   // median
  double read_fraction;   // of the speed of a loop that reads the same keys and values, median
  double pack_fraction;   // of the attend's time, for queries, keys, values and results, one thread
  double worst_of_bound;  // largest error of the sampled rows over their bound
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

struct Cells {
  struct Free {
    void operator()(std::byte* data) const { ::operator delete[](data, std::align_val_t{kAlignment}); }
  };
  std::vector<std::unique_ptr<std::byte[], Free>> list;
  std::byte* add(std::int64_t bytes) {
    return list.emplace_back(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kAlignment}))).get();
  }
};

class Bench {
 public:
  Bench(const Settings& settings, int dim, const std::string& mask, Type type)
      : settings_(settings),
        shape_{.head_dim = dim, .value_dim = dim, .group = settings.group, .type = type},
        units_(units_of(settings.tokens)),
        query_units_(units_of(query_tokens())),
        mask_(Mask::parse(mask)),
        bands_(mask_.bands_at(first_query())),
        queries_(normal(query_tokens(), settings.heads * settings.group, dim, 1)),
        keys_(normal(settings.tokens, settings.heads, dim, 2)),
        values_(normal(settings.tokens, settings.heads, dim, 3)),
        out_(queries_.size()),
        lse_(query_tokens() * settings.heads * settings.group) {
    work_ = {.shape = shape_, .score = score(), .bands = &bands_, .heads = std::vector<AttendWork::Head>(settings.heads)};
    for (AttendWork::Head& head : work_.heads) {
      for (int unit = 0; unit < query_units_.count(); ++unit) {
        const std::int64_t tokens = query_units_.length(unit);
        head.queries.push_back({cells_.add(cell_bytes(Role::query, shape_, tokens)),
                                cells_.add(cell_bytes(Role::partial, shape_, tokens)), query_units_.range(unit) + first_query()});
      }
      for (int unit = 0; unit < units_.count(); ++unit) {
        head.keys.push_back({cells_.add(cell_bytes(Role::key_value, shape_, units_.length(unit))), units_.range(unit)});
      }
    }
  }

  Result run() {
    const KernelTable& kernels = select_kernels(settings_.isa);
    Team team(settings_.threads);
    Attend attend(work_, kernels, settings_.threads, settings_.strips);
    Result result{.dim = shape_.head_dim,
                  .type = shape_.type,
                  .mask = mask_.text(),
                  .seconds = 0,
                  .flops = flops(),
                  .peak_fraction = 0,
                  .read_fraction = 0,
                  .pack_fraction = 0,
                  .worst_of_bound = 0};
    std::vector<double> seconds, fractions, reading, packing;
    for (int repeat = -1; repeat < settings_.repeats; ++repeat) {
      const double before_pack = now();
      pack();
      const double pack_seconds = now() - before_pack;
      const double peak_before = peak(team, kernels);
      const double read_seconds = settings_.queries > 0 ? read(team) : 0;
      const double begin = now();
      attend.run(team, [] {});
      const double end = now();
      const double peak_after = peak(team, kernels);
      finish();
      const double finish_begin = now();
      finish();
      const double finish_seconds = now() - finish_begin;
      if (repeat < 0) continue;  // the first run touches memory for the first time
      seconds.push_back(end - begin);
      fractions.push_back(result.flops / (end - begin) / ((peak_before + peak_after) / 2));
      reading.push_back(read_seconds / (end - begin));
      packing.push_back((pack_seconds + finish_seconds) / (end - begin) / settings_.threads);
    }
    result.seconds = median(seconds), result.peak_fraction = median(fractions), result.pack_fraction = median(packing);
    result.read_fraction = median(reading);
    result.worst_of_bound = check();
    return result;
  }

 private:
  std::int64_t query_tokens() const { return settings_.queries > 0 ? settings_.queries : settings_.tokens; }
  std::int64_t first_query() const { return settings_.tokens - query_tokens(); }
  Units units_of(std::int64_t tokens) const {
    return Units(tokens, settings_.unit > 0 ? settings_.unit : default_unit_tokens(tokens, 1));
  }
  int query_heads() const { return settings_.heads * settings_.group; }
  ScoreRule score() const {
    ScoreRule rule{.scale = 1 / std::sqrt(static_cast<double>(shape_.head_dim))};
    if (settings_.softcap != 0) rule.softcap = settings_.softcap;
    return rule;
  }
  Rows<const float> rows(const std::vector<float>& data, int heads) const {
    return Rows<const float>(data.data(), std::ssize(data) / heads / shape_.head_dim, heads, shape_.head_dim);
  }
  double flops() const {
    const Range keys{0, settings_.tokens}, queries{first_query(), settings_.tokens};
    return 2.0 * static_cast<double>(bands_.count(queries, keys)) * query_heads() * (shape_.head_dim + shape_.value_dim);
  }

  std::vector<float> normal(std::int64_t tokens, int heads, int dim, std::uint64_t seed) const {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> distribution(0, 1);
    std::vector<float> data(tokens * heads * dim);
    for (float& x : data) {
      x = distribution(random);  // as cells hold it
      if (shape_.type == Type::bf16) x = to_float(to_bf16(x));
      if (shape_.type == Type::f16) x = to_float(to_f16(x));
    }
    return data;
  }

  void pack() {
    for (int head = 0; head < settings_.heads; ++head) {
      for (int unit = 0; unit < query_units_.count(); ++unit) {
        const QueryCell& query = work_.heads[head].queries[unit];
        const Range range = query_units_.range(unit);
        pack_query(shape_, rows(queries_, query_heads()), range.begin, range.size(), head, const_cast<std::byte*>(query.query));
        clear_partial(shape_, range.size(), query.partial);
      }
      for (int unit = 0; unit < units_.count(); ++unit) {
        const Range range = units_.range(unit);
        pack_key_value(shape_, rows(keys_, settings_.heads), rows(values_, settings_.heads), range.begin, range.size(), head,
                       const_cast<std::byte*>(work_.heads[head].keys[unit].cell));
      }
    }
  }

  void finish() {
    const Rows<float> out(out_.data(), query_tokens(), query_heads(), shape_.value_dim);
    for (int head = 0; head < settings_.heads; ++head) {
      for (int unit = 0; unit < query_units_.count(); ++unit) {
        const Range range = query_units_.range(unit);
        finish_partial(shape_, work_.heads[head].queries[unit].partial, range.size(), head, out, lse_.data(), range.begin);
      }
    }
  }

  /// Seconds to read all keys and values once, by all threads.
  double read(Team& team) const {
    const int units = units_.count();
    const double begin = now();
    team.run(
        settings_.heads * units,
        [&](int task, int) {
          const auto* at = reinterpret_cast<const std::uint64_t*>(work_.heads[task / units].keys[task % units].cell);
          const std::int64_t count = cell_bytes(Role::key_value, shape_, units_.length(task % units)) / 8;
          std::uint64_t sums[8] = {};
          for (std::int64_t i = 0; i < count; i += 8) {
            for (int k = 0; k < 8; ++k) sums[k] += at[i + k];
          }
          for (const std::uint64_t sum : sums) sink_.fetch_xor(sum, std::memory_order_relaxed);
        },
        [] {});
    return now() - begin;
  }

  /// FLOP/s of all threads together.
  double peak(Team& team, const KernelTable& kernels) const {
    std::vector<double> each(settings_.threads, 0);
    team.run(
        settings_.threads, [&](int task, int) { each[task] = peak_flops(kernels, shape_.type, 0.02); }, [] {});
    double sum = 0;
    for (const double flops : each) sum += flops;
    return sum;
  }

  double check() const {
    double worst = 0;
    for (int sample = 0; sample < 8; ++sample) {
      const std::int64_t token = query_tokens() * (2 * sample + 1) / 16;
      const int head = sample % query_heads();
      const ReferencePartial reference =
          reference_partial(rows(queries_, query_heads()).row(token, head), first_query() + token, rows(keys_, settings_.heads),
                            rows(values_, settings_.heads), head / settings_.group, 0, score(), bands_);
      const float* const out = out_.data() + (token * query_heads() + head) * shape_.value_dim;
      for (int c = 0; c < shape_.value_dim; ++c) {
        const double error = std::abs(static_cast<double>(out[c]) - reference.out(c));
        if (!(error <= worst * reference.out_bound(c, shape_.type))) worst = error / reference.out_bound(c, shape_.type);
      }
    }
    return worst;
  }

  const Settings& settings_;
  CellShape shape_;
  Units units_, query_units_;
  Mask mask_;
  Bands bands_;  // bound to the first query
  mutable std::atomic<std::uint64_t> sink_ = 0;
  std::vector<float> queries_, keys_, values_, out_, lse_;
  Cells cells_;
  AttendWork work_;
};

nlohmann::json to_json(const Settings& settings, const Result& result) {
  return {{"isa", select_kernels(settings.isa).name},
          {"tokens", settings.tokens},
          {"queries", settings.queries > 0 ? settings.queries : settings.tokens},
          {"heads", settings.heads},
          {"group", settings.group},
          {"threads", settings.threads},
          {"head_dim", result.dim},
          {"dtype", to_string(result.type)},
          {"softcap", settings.softcap},
          {"mask", result.mask},
          {"seconds", result.seconds},
          {"flops", result.flops},
          {"gflops", result.flops / result.seconds * 1e-9},
          {"peak_fraction", result.peak_fraction},
          {"read_fraction", settings.queries > 0 ? nlohmann::json(result.read_fraction) : nlohmann::json()},
          {"pack_fraction", result.pack_fraction},
          {"worst_of_bound", result.worst_of_bound}};
}

/// 0 if every result is within its bound.
int bench(const Settings& settings) {
  nlohmann::json all = nlohmann::json::array();
  bool right = true;
  std::printf("%-11s %-5s %-24s %5s %10s %9s %14s %14s %14s %15s\n", "isa", "dtype", "mask", "dim", "ms", "GFLOP/s",
              "share of peak", "share of read", "packing share", "error of bound");
  std::vector<std::pair<std::string, Type>> masks_and_types;
  for (const std::string& mask : settings.masks)
    for (const std::string& type : settings.types) masks_and_types.emplace_back(mask, parse_type(type));
  for (const int dim : settings.dims) {
    for (const auto& [mask, type] : masks_and_types) {
      const Result result = Bench(settings, dim, mask, type).run();
      std::printf("%-11s %-5s %-24s %5d %10.3f %9.1f %14.3f %14.3f %14.4f %15.3f\n", select_kernels(settings.isa).name,
                  to_string(result.type).c_str(), result.mask.c_str(), dim, result.seconds * 1e3,
                  result.flops / result.seconds * 1e-9, result.peak_fraction, result.read_fraction, result.pack_fraction,
                  result.worst_of_bound);
      std::fflush(stdout);
      all.push_back(to_json(settings, result));
      right = right && result.worst_of_bound <= 1;
    }
  }
  if (!settings.json.empty()) std::ofstream(settings.json) << all.dump(2) << '\n';
  return right ? 0 : 1;
}

int run(int argc, char** argv) {
  namespace options = boost::program_options;
  Settings settings;
  options::options_description description("gyre_bench_kernels");
  auto add = description.add_options();
  add("help", "this text");
  add("tokens", options::value(&settings.tokens)->default_value(4096), "key tokens, and query tokens if --queries is 0");
  add("queries", options::value(&settings.queries)->default_value(0), "query tokens, at the end of the keys");
  add("unit", options::value(&settings.unit)->default_value(0), "tokens of a unit; 0: the default rule");
  add("heads", options::value(&settings.heads)->default_value(1), "key/value heads");
  add("group", options::value(&settings.group)->default_value(1), "query heads per key/value head");
  add("threads", options::value(&settings.threads)->default_value(1), "compute threads");
  add("repeats", options::value(&settings.repeats)->default_value(7), "timed repeats, of which the median counts");
  add("strips", options::value(&settings.strips)->default_value(0), "strips per block; 0: the kernel's own");
  add("isa", options::value(&settings.isa)->default_value(""), "instruction set; empty: the best");
  add("dim", options::value(&settings.dims)->multitoken()->default_value({64, 128}, "64 128"), "head dims (and value dims)");
  add("mask", options::value(&settings.masks)->multitoken()->default_value({"full", "causal"}, "full causal"), "mask expressions");
  add("dtype", options::value(&settings.types)->multitoken()->default_value({"f32", "bf16", "f16"}, "f32 bf16 f16"),
      "types of cells");
  add("softcap", options::value(&settings.softcap)->default_value(0), "cap of scores; 0: none");
  add("json", options::value(&settings.json), "write the results there");
  options::variables_map variables;
  options::store(options::parse_command_line(argc, argv, description), variables);
  options::notify(variables);
  if (variables.count("help") != 0) {
    std::cout << description;
    return 0;
  }
  return bench(settings);
}

}  // namespace
}  // namespace gyre

int main(int argc, char** argv) {
  try {
    return gyre::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gyre_bench_kernels: error: %s\n", error.what());
    return 2;
  }
}
