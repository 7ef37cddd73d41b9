// gyre_bench_backward: the backward pass on one rank, beside the processor's multiply-add peak measured in the same run, as
// gyre_bench_kernels does it. What the forward pass saves comes from a forward pass.
#include <algorithm>
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
#include <vector>

#include "kernels/attend.hpp"
#include "kernels/attend_backward.hpp"
#include "kernels/convert.hpp"
#include "kernels/gradient.hpp"
#include "kernels/pack.hpp"
#include "kernels/reference.hpp"
#include "partition/mask.hpp"
#include "partition/units.hpp"

namespace gyre {
namespace {

struct Settings {
  std::int64_t tokens = 4096;
  std::int64_t unit = 0;  // 0: the default rule
  int heads = 1;          // key/value heads
  int group = 1;
  int threads = 1;
  int repeats = 7;
  std::string isa;
  std::string json;
  std::vector<int> dims;
  std::vector<std::string> masks;
  std::vector<std::string> types;
  double softcap = 0;              // 0: none
  std::int64_t checked_rows = 96;  // of a run of their own, against the reference
};

struct Result {
  double seconds = 0;         // median
  double flops = 0;           // 2 x visible pairs x query heads x (3 head dim + 2 value dim)
  double peak_fraction = 0;   // median
  double worst_of_bound = 0;  // largest error over its bound
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

/// Random rows, their cells, and the two passes over them.
class Passes {
 public:
  Passes(const Settings& settings, std::int64_t tokens, int dim, const std::string& mask, Type type)
      : settings_(settings),
        tokens_(tokens),
        shape_{.head_dim = dim, .value_dim = dim, .group = settings.group, .type = type},
        units_(tokens, settings.unit > 0 ? settings.unit : default_unit_tokens(tokens, 1)),
        mask_(Mask::parse(mask)),
        queries_(normal(query_heads(), 1)),
        keys_(normal(settings.heads, 2)),
        values_(normal(settings.heads, 3)),
        grad_out_(normal(query_heads(), 4)),
        out_(grad_out_.size()),
        lse_(tokens * query_heads()),
        forward_{
            .shape = shape_, .score = score(), .bands = &mask_.bands(), .heads = std::vector<AttendWork::Head>(settings.heads)},
        backward_{.shape = shape_,
                  .score = score(),
                  .bands = &mask_.bands(),
                  .heads = std::vector<AttendBackwardWork::Head>(settings.heads)} {
    for (int head = 0; head < settings.heads; ++head) {
      for (int unit = 0; unit < units_.count(); ++unit) add_unit(head, units_.range(unit));
    }
  }

  void forward(Team& team, const KernelTable& kernels) {
    Attend(forward_, kernels, settings_.threads).run(team, [] {});
    for (int head = 0; head < settings_.heads; ++head) {
      for (int unit = 0; unit < units_.count(); ++unit) {
        const Range range = units_.range(unit);
        finish_partial(shape_, forward_.heads[head].queries[unit].partial, range.size(), head,
                       Rows<float>(out_.data(), tokens_, query_heads(), shape_.value_dim), lse_.data(), range.begin);
        const BackwardQueryCell& cell = backward_.heads[head].queries[unit];
        pack_grad_out(shape_, rows(grad_out_, query_heads()), range.begin, range.size(), head,
                      const_cast<std::byte*>(cell.grad_out));
        pack_row_statistics(shape_, rows(grad_out_, query_heads()), rows(out_, query_heads()), lse_.data(), range.begin,
                            range.size(), head, const_cast<std::byte*>(cell.row_statistics));
      }
    }
  }

  void clear() {
    for (AttendBackwardWork::Head& head : backward_.heads) {
      for (const BackwardQueryCell& cell : head.queries) {
        clear_gradient(Role::grad_query, shape_, cell.positions.size(), cell.grad_query);
      }
      for (const BackwardKeyCell& cell : head.keys) {
        clear_gradient(Role::grad_key_value, shape_, cell.positions.size(), cell.gradient);
      }
    }
  }

  const AttendBackwardWork& work() const { return backward_; }
  double flops() const {
    const Range all{0, tokens_};
    return 2.0 * static_cast<double>(mask_.bands().count(all, all)) * query_heads() * (3 * shape_.head_dim + 2 * shape_.value_dim);
  }

  /// Largest error over its bound, of all gradients.
  double check(Type saved) const {
    const ReferenceGradients reference =
        reference_gradients(rows(queries_, query_heads()), rows(keys_, settings_.heads), rows(values_, settings_.heads),
                            rows(grad_out_, query_heads()), 0, 0, score(), mask_.bands(), saved);
    std::vector<float> query(queries_.size()), key(keys_.size()), value(values_.size());
    for (int head = 0; head < settings_.heads; ++head) {
      for (int unit = 0; unit < units_.count(); ++unit) {
        const Range range = units_.range(unit);
        finish_grad_query(shape_, backward_.heads[head].queries[unit].grad_query, range.size(), head,
                          Rows<float>(query.data(), tokens_, query_heads(), shape_.head_dim), range.begin);
        finish_grad_key_value(shape_, backward_.heads[head].keys[unit].gradient, range.size(), head,
                              Rows<float>(key.data(), tokens_, settings_.heads, shape_.head_dim),
                              Rows<float>(value.data(), tokens_, settings_.heads, shape_.value_dim), range.begin);
      }
    }
    return std::max({worst(query, reference.query), worst(key, reference.key), worst(value, reference.value)});
  }

 private:
  static double worst(const std::vector<float>& found, const ReferenceGradient& reference) {
    double worst = 0;
    for (std::size_t k = 0; k < found.size(); ++k) {
      const double share = std::abs(static_cast<double>(found[k]) - reference.value[k]) / (reference.bound[k] + 1e-36);
      worst = share <= worst ? worst : share;  // keeps NaN
    }
    return worst;
  }

  int query_heads() const { return settings_.heads * settings_.group; }
  ScoreRule score() const {
    ScoreRule rule{.scale = 1 / std::sqrt(static_cast<double>(shape_.head_dim))};
    if (settings_.softcap != 0) rule.softcap = settings_.softcap;
    return rule;
  }
  Rows<const float> rows(const std::vector<float>& data, int heads) const {
    return Rows<const float>(data.data(), tokens_, heads, shape_.head_dim);
  }

  std::vector<float> normal(int heads, std::uint64_t seed) const {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> distribution(0, 1);
    std::vector<float> data(tokens_ * heads * shape_.head_dim);
    for (float& x : data) {
      x = distribution(random);  // as cells hold it
      if (shape_.type == Type::bf16) x = to_float(to_bf16(x));
      if (shape_.type == Type::f16) x = to_float(to_f16(x));
    }
    return data;
  }

  void add_unit(int head, Range range) {
    const auto cell = [&](Role role) { return cells_.add(cell_bytes(role, shape_, range.size())); };
    std::byte *query = cell(Role::query), *partial = cell(Role::partial), *key = cell(Role::key_value);
    pack_query(shape_, rows(queries_, query_heads()), range.begin, range.size(), head, query);
    pack_key_value(shape_, rows(keys_, settings_.heads), rows(values_, settings_.heads), range.begin, range.size(), head, key);
    clear_partial(shape_, range.size(), partial);
    forward_.heads[head].queries.push_back({query, partial, range});
    forward_.heads[head].keys.push_back({key, range});
    backward_.heads[head].queries.push_back({.query = query,
                                             .grad_out = cell(Role::grad_out),
                                             .row_statistics = cell(Role::row_statistics),
                                             .grad_query = cell(Role::grad_query),
                                             .positions = range});
    backward_.heads[head].keys.push_back({.cell = key, .gradient = cell(Role::grad_key_value), .positions = range});
  }

  const Settings& settings_;
  std::int64_t tokens_;
  CellShape shape_;
  Units units_;
  Mask mask_;
  std::vector<float> queries_, keys_, values_, grad_out_, out_, lse_;
  Cells cells_;
  AttendWork forward_;
  AttendBackwardWork backward_;
};

/// Of all threads at once.
double peak(Team& team, const KernelTable& kernels) {
  std::vector<double> flops(team.size());
  team.run(
      team.size(), [&](int task, int) { flops[task] = kernels.peak_flops(0.02); }, [] {});
  double sum = 0;
  for (const double x : flops) sum += x;
  return sum;
}

Result run_one(const Settings& settings, int dim, const std::string& mask, Type type) {
  const KernelTable& kernels = select_kernels(settings.isa);
  Team team(settings.threads);
  Passes passes(settings, settings.tokens, dim, mask, type);
  passes.forward(team, kernels);
  AttendBackward backward(passes.work(), kernels, settings.threads);
  Result result{.flops = passes.flops()};
  std::vector<double> seconds, fractions;
  for (int repeat = -1; repeat < settings.repeats; ++repeat) {
    passes.clear();
    const double peak_before = peak(team, kernels);
    const double begin = now();
    backward.run(team, [] {});
    const double end = now();
    const double peak_after = peak(team, kernels);
    if (repeat < 0) continue;  // the first run touches memory for the first time
    seconds.push_back(end - begin);
    fractions.push_back(result.flops / (end - begin) / ((peak_before + peak_after) / 2));
  }
  result.seconds = median(seconds), result.peak_fraction = median(fractions);
  Passes small(settings, std::min(settings.tokens, settings.checked_rows), dim, mask, type);
  small.forward(team, kernels);
  small.clear();
  AttendBackward(small.work(), kernels, settings.threads).run(team, [] {});
  result.worst_of_bound = small.check(type == Type::bf16 && kernels.attend_pairs != nullptr ? Type::bf16 : Type::f32);
  return result;
}

/// 0 if every result is within its bound.
int bench(const Settings& settings) {
  nlohmann::json all = nlohmann::json::array();
  bool right = true;
  std::printf("%-11s %-5s %-24s %5s %10s %9s %14s %15s\n", "isa", "dtype", "mask", "dim", "ms", "GFLOP/s", "share of peak",
              "error of bound");
  for (const int dim : settings.dims) {
    for (const std::string& mask : settings.masks) {
      for (const std::string& type : settings.types) {
        const Result result = run_one(settings, dim, mask, parse_type(type));
        const char* const isa = select_kernels(settings.isa).name;
        std::printf("%-11s %-5s %-24s %5d %10.3f %9.1f %14.3f %15.3f\n", isa, type.c_str(), mask.c_str(), dim, result.seconds * 1e3,
                    result.flops / result.seconds * 1e-9, result.peak_fraction, result.worst_of_bound);
        std::fflush(stdout);
        all.push_back({{"isa", isa},
                       {"tokens", settings.tokens},
                       {"heads", settings.heads},
                       {"group", settings.group},
                       {"threads", settings.threads},
                       {"head_dim", dim},
                       {"dtype", type},
                       {"softcap", settings.softcap},
                       {"mask", mask},
                       {"seconds", result.seconds},
                       {"flops", result.flops},
                       {"gflops", result.flops / result.seconds * 1e-9},
                       {"peak_fraction", result.peak_fraction},
                       {"worst_of_bound", result.worst_of_bound}});
        right = right && result.worst_of_bound <= 1;
      }
    }
  }
  if (!settings.json.empty()) std::ofstream(settings.json) << all.dump(2) << '\n';
  return right ? 0 : 1;
}

int run(int argc, char** argv) {
  namespace options = boost::program_options;
  Settings settings;
  options::options_description description("gyre_bench_backward");
  auto add = description.add_options();
  add("help", "this text");
  add("tokens", options::value(&settings.tokens)->default_value(4096), "query and key tokens");
  add("unit", options::value(&settings.unit)->default_value(0), "tokens of a unit; 0: the default rule");
  add("heads", options::value(&settings.heads)->default_value(1), "key/value heads");
  add("group", options::value(&settings.group)->default_value(1), "query heads per key/value head");
  add("threads", options::value(&settings.threads)->default_value(1), "compute threads");
  add("repeats", options::value(&settings.repeats)->default_value(7), "timed repeats, of which the median counts");
  add("isa", options::value(&settings.isa)->default_value(""), "instruction set; empty: the best");
  add("dim", options::value(&settings.dims)->multitoken()->default_value({64, 128}, "64 128"), "head dims (and value dims)");
  add("mask", options::value(&settings.masks)->multitoken()->default_value({"full", "causal"}, "full causal"), "mask expressions");
  add("dtype", options::value(&settings.types)->multitoken()->default_value({"f32", "bf16", "f16"}, "f32 bf16 f16"),
      "types of cells");
  add("softcap", options::value(&settings.softcap)->default_value(0), "cap of scores; 0: none");
  add("check", options::value(&settings.checked_rows)->default_value(96),
      "tokens of a run beside the timed one whose gradients are compared with float64");
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
    std::fprintf(stderr, "gyre_bench_backward: error: %s\n", error.what());
    return 2;
  }
}
