#include "launch/calibrate_kernels.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <span>

#include "comm/heartbeat.hpp"
#include "kernels/attend.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/pack.hpp"
#include "launch/synthetic.hpp"
#include "partition/mask.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kLongUnit = 512, kShortUnit = 64;
constexpr int kHeadDims[] = {32, 64, 128, 256};

struct Shape {
  Type type = Type::f32;
  int head_dim = 64;
  int heads = 1;
  std::int64_t rows = 0, keys = 0;
  std::int64_t unit = kLongUnit;  // of keys; those of queries are long

  CellShape cells() const { return {.head_dim = head_dim, .value_dim = head_dim, .group = 1, .type = type}; }
  double flops() const { return 4.0 * static_cast<double>(rows * keys) * head_dim * heads; }
  double row_units() const {
    const std::int64_t units = (keys + unit - 1) / unit;
    return static_cast<double>(rows * units * heads);
  }
};

struct Free {
  void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t{kAlignment}); }
};

/// Cells of a shape, every query of which sees every key.
class Case {
 public:
  Case(const Shape& shape, Team& team) : shape_(shape) {
    const auto elements = static_cast<std::size_t>(std::max(shape.rows, shape.keys) * shape.heads * shape.head_dim);
    values_.resize(elements);
    const Range all{0, std::max(shape.rows, shape.keys)};
    fill_synthetic(1, Tensor::key, {&all, 1}, shape.heads, shape.head_dim, team, values_.data());
    out_.resize(static_cast<std::size_t>(shape.rows * shape.heads * shape.head_dim));
    work_.shape = shape.cells();
    work_.score.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
    work_.bands = &bands_;
    for (int head = 0; head < shape.heads; ++head) work_.heads.push_back(head_cells());
    pack();
  }

  /// Of all queries to all keys. This must outlive it.
  Attend attend(const KernelTable& kernels, const Team& team) const { return {work_, kernels, team.size()}; }

  /// All that a rank does with cells of its own in a call, but for attending.
  void pack_and_finish() {
    pack();
    for (int head = 0; head < shape_.heads; ++head)
      for (const QueryCell& cell : work_.heads[head].queries)
        finish_partial(work_.shape, cell.partial, cell.positions.size(), head,
                       Rows<float>(out_.data(), shape_.rows, shape_.heads, shape_.head_dim), nullptr, cell.positions.begin);
  }
  /// As runtime/costs.cpp counts them: queries, keys and values; partials when they are cleared and when they are finished.
  double packed_bytes() const { return packed_bytes_; }
  double key_bytes() const { return key_bytes_; }

 private:
  std::byte* add(Role role, std::int64_t tokens, double times) {
    const std::int64_t bytes = cell_bytes(role, shape_.cells(), tokens);
    packed_bytes_ += times * static_cast<double>(bytes);
    if (role == Role::key_value) key_bytes_ += static_cast<double>(bytes);
    return cells_
        .emplace_back(static_cast<std::byte*>(::operator new[](static_cast<std::size_t>(bytes), std::align_val_t{kAlignment})))
        .get();
  }

  AttendWork::Head head_cells() {
    AttendWork::Head head;
    const auto units = [&](std::int64_t tokens, std::int64_t unit, auto&& each) {
      for (std::int64_t begin = 0; begin < tokens; begin += unit) each(Range{begin, std::min(begin + unit, tokens)});
    };
    units(shape_.rows, kLongUnit, [&](Range range) {
      std::byte* const query = add(Role::query, range.size(), 1);
      head.queries.push_back({query, add(Role::partial, range.size(), 2), range});
    });
    units(shape_.keys, shape_.unit, [&](Range range) { head.keys.push_back({add(Role::key_value, range.size(), 1), range}); });
    return head;
  }

  void pack() {
    const Rows<const float> rows(values_.data(), std::max(shape_.rows, shape_.keys), shape_.heads, shape_.head_dim);
    for (int head = 0; head < shape_.heads; ++head) {
      for (const QueryCell& cell : work_.heads[head].queries) {
        pack_query(work_.shape, rows, cell.positions.begin, cell.positions.size(), head, const_cast<std::byte*>(cell.query));
        clear_partial(work_.shape, cell.positions.size(), cell.partial);
      }
      for (const KeyCell& cell : work_.heads[head].keys)
        pack_key_value(work_.shape, rows, rows, cell.positions.begin, cell.positions.size(), head,
                       const_cast<std::byte*>(cell.cell));
    }
  }

  Shape shape_;
  Bands bands_ = Mask::parse("full").bands_at(0);
  std::vector<float> values_, out_;
  std::vector<std::unique_ptr<std::byte[], Free>> cells_;
  AttendWork work_;
  double packed_bytes_ = 0, key_bytes_ = 0;
};

/// Everything that is timed, in turns, and what the figures are made of.
struct Suite {
  struct Timed {
    std::function<void()> step;
    std::vector<double> seconds{};
    double median = 0;  // over the ranks
  };
  struct Rate {
    KernelRate rate;
    Shape shape;
    std::size_t timed;
  };
  std::vector<std::unique_ptr<Case>> cases;
  std::vector<Timed> timed;
  std::vector<Rate> rates;
  Shape short_shape, long_shape;
  std::size_t short_units = 0, long_units = 0, small = 0, streamed = 0, packed = 0;  // of timed
  double streamed_bytes = 0, packed_bytes = 0;
  double short_over_long = 0;  // seconds; of runs one after the other, since they differ by little

  Case& add_case(const Shape& shape, Team& team) { return *cases.emplace_back(std::make_unique<Case>(shape, team)); }
  std::size_t add(std::function<void()> step) {
    timed.push_back({std::move(step)});
    return timed.size() - 1;
  }
  std::size_t add_attend(const Case& of, const KernelTable& kernels, Team& team) {
    return add([attend = std::make_shared<Attend>(of.attend(kernels, team)), &team] { attend->run(team, [] {}); });
  }
};

/// tables: that every rank has, best first.
Suite make_suite(const CalibrationSizes& sizes, std::span<const KernelTable* const> tables, Team& team) {
  Suite suite;
  std::vector<std::pair<Shape, const Case*>> shapes;
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
    for (const int head_dim : kHeadDims) {
      const auto rows = static_cast<std::int64_t>(sizes.pair_dims / head_dim);
      const Shape shape{.type = type, .head_dim = head_dim, .rows = rows, .keys = sizes.keys};
      shapes.emplace_back(shape, &suite.add_case(shape, team));
    }
  }
  for (const KernelTable* kernels : tables) {
    for (const auto& [shape, of] : shapes) {
      const std::size_t timed = suite.add_attend(*of, *kernels, team);
      suite.rates.push_back(
          {.rate = {.isa = kernels->name, .type = shape.type, .head_dim = shape.head_dim}, .shape = shape, .timed = timed});
    }
  }
  const KernelTable& best = *tables.front();
  suite.long_shape = {.head_dim = 64, .rows = static_cast<std::int64_t>(sizes.pair_dims) / 64, .keys = sizes.keys};
  suite.short_shape = suite.long_shape;
  suite.short_shape.unit = kShortUnit;
  suite.long_units = suite.add_attend(suite.add_case(suite.long_shape, team), best, team);
  suite.short_units = suite.add_attend(suite.add_case(suite.short_shape, team), best, team);
  suite.small = suite.add_attend(suite.add_case({.head_dim = 64, .rows = 16, .keys = 16}, team), best, team);
  const Case& streamed = suite.add_case({.head_dim = 128, .rows = 1, .keys = sizes.streamed_keys}, team);
  suite.streamed = suite.add_attend(streamed, best, team);
  suite.streamed_bytes = streamed.key_bytes();
  Case& packed = suite.add_case({.head_dim = 64, .heads = 8, .rows = sizes.packed_tokens, .keys = sizes.packed_tokens}, team);
  suite.packed = suite.add([&packed] { packed.pack_and_finish(); });
  suite.packed_bytes = packed.packed_bytes();
  return suite;
}

KernelModel model_of(const Suite& suite) {
  const auto seconds = [&](std::size_t timed) { return suite.timed[timed].median; };
  KernelModel model;
  model.attend_seconds = seconds(suite.small);
  model.row_unit_seconds = std::max(0.0, suite.short_over_long) / (suite.short_shape.row_units() - suite.long_shape.row_units());
  model.memory_bytes_per_second = suite.streamed_bytes / seconds(suite.streamed);
  model.packing_bytes_per_second = suite.packed_bytes / seconds(suite.packed);
  for (const Suite::Rate& each : suite.rates) {
    const double all = seconds(each.timed);
    const double beside = model.attend_seconds + each.shape.row_units() * model.row_unit_seconds;
    KernelRate rate = each.rate;
    rate.flops_per_second = each.shape.flops() / std::max(all - beside, all / 2);
    model.rates.push_back(rate);
  }
  for (const Type type : {Type::f32, Type::bf16, Type::f16})
    model.flops_per_second[static_cast<std::size_t>(type)] = model.rate(type, 64);
  return model;
}

}  // namespace

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

KernelModel measure_kernels(Transport& transport, const CalibrateRequest& request) {
  transport.heartbeat().set_stage({"timing kernels"});
  std::vector<const KernelTable*> tables = available_kernels();  // lists differ only in how far up they reach
  const auto common = static_cast<std::ptrdiff_t>(minimum_over_ranks(transport, static_cast<double>(tables.size())));
  tables.erase(tables.begin(), tables.end() - common);
  Team team(1);
  Suite suite = make_suite(sizes_of(request), tables, team);
  for (int round = -1; round < request.rounds; ++round) {  // the first warms up
    transport.barrier();
    for (Suite::Timed& timed : suite.timed) {
      const double start = seconds_now();
      timed.step();
      if (round >= 0) timed.seconds.push_back(seconds_now() - start);
      transport.heartbeat().beat();
    }
  }
  std::vector<double> of_ranks(static_cast<std::size_t>(transport.ranks()));
  const auto over_ranks = [&](const std::vector<double>& rounds) {
    all_gather_value(transport, median_of(rounds), std::span(of_ranks));
    return median_of(of_ranks);
  };
  for (Suite::Timed& timed : suite.timed) timed.median = over_ranks(timed.seconds);
  std::vector<double> longer;
  for (std::size_t round = 0; round < static_cast<std::size_t>(request.rounds); ++round)
    longer.push_back(suite.timed[suite.short_units].seconds[round] - suite.timed[suite.long_units].seconds[round]);
  suite.short_over_long = over_ranks(longer);
  return model_of(suite);
}

struct TimedWork::State {
  Team team{1};
  Case of;
  Attend attend;
  explicit State(const CalibrationSizes& sizes)
      : of({.head_dim = 64, .rows = static_cast<std::int64_t>(sizes.pair_dims) / 64, .keys = sizes.keys}, team),
        attend(of.attend(select_kernels(), team)) {}
};

TimedWork::TimedWork(const CalibrationSizes& sizes) : state_(std::make_unique<State>(sizes)) {}
TimedWork::~TimedWork() = default;

void TimedWork::run(FunctionRef<void()> poll) {
  state_->attend.run(state_->team, poll);
}

}  // namespace gyre
