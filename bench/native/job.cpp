#include "job.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "comm/loopback_transport.hpp"
#include "kernels/convert.hpp"
#include "kernels/reference.hpp"
#include "runtime/mechanism/native_pooling.hpp"

namespace gyre::bench {
namespace {

/// [tokens, heads, dim] of the whole sequence.
struct Tensor {
  std::int64_t tokens;
  int heads, dim;
  std::vector<float> values;

  Tensor(std::int64_t token_count, int head_count, int row_dim)
      : tokens(token_count),
        heads(head_count),
        dim(row_dim),
        values(static_cast<std::size_t>(token_count * head_count * row_dim)) {}
  std::int64_t width() const { return std::int64_t{heads} * dim; }
  TypedRows rows() const { return {values.data(), Type::f32, tokens, heads, dim}; }
  TypedOutRows rows() { return {values.data(), Type::f32, tokens, heads, dim}; }
  Tensor of(std::span<const Range> ranges) const {
    Tensor own(count_of(ranges), heads, dim);
    auto to = own.values.begin();
    for (const Range range : ranges)
      to = std::copy(values.begin() + range.begin * width(), values.begin() + range.end * width(), to);
    return own;
  }
};

struct Inputs {
  Tensor queries, keys, values, gates, grad_out;

  explicit Inputs(const NativeJob& job)
      : queries(job.problem.query_tokens, job.problem.query_heads, job.problem.head_dim),
        keys(job.problem.key_tokens, job.problem.key_heads, job.problem.head_dim),
        values(job.problem.key_tokens, job.problem.key_heads, job.problem.value_dim),
        gates(job.problem.query_tokens, job.problem.query_heads, kNativeBranches),
        grad_out(job.problem.query_tokens, job.problem.query_heads, job.problem.value_dim) {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal(0, 1.5F);
    std::uniform_real_distribution<float> share(0, 1);
    for (Tensor* const tensor : {&queries, &keys, &values, &grad_out}) {
      for (float& value : tensor->values) value = normal(random);
    }
    for (float& value : gates.values) value = share(random);
    for (std::int64_t token = 0; token < queries.tokens; ++token) {
      const std::int64_t first = token / job.alike_tokens * job.alike_tokens;
      for (std::int64_t at = 0; at < queries.width() && token != first; ++at) {
        float& own = queries.values[static_cast<std::size_t>(token * queries.width() + at)];
        own = 0.75F * queries.values[static_cast<std::size_t>(first * queries.width() + at)] + 0.66F * own;
      }
    }
  }
};

/// What one rank does.
class Rank {
 public:
  Rank(Transport& transport, const NativeJob& job, const Inputs& inputs)
      : transport_(transport),
        thread_clock_(job.thread_clock),
        native_(transport, job.problem, job.sparse, job.options),
        dense_(transport, job.problem, with_rows(job.options, transport, native_.rows())),
        queries_(inputs.queries.of(native_.rows())),
        keys_(inputs.keys.of(native_.rows())),
        values_(inputs.values.of(native_.rows())),
        gates_(inputs.gates.of(native_.rows())),
        grad_out_(inputs.grad_out.of(native_.rows())),
        out_(grad_out_),
        grad_queries_(queries_),
        grad_keys_(keys_),
        grad_values_(values_),
        grad_gates_(gates_),
        lse_(static_cast<std::size_t>(grad_out_.tokens * grad_out_.heads)) {}

  NativeSeconds forward() {
    NativeSeconds seconds;
    seconds.dense = slowest([&] { dense_.forward({queries_.rows(), keys_.rows(), values_.rows(), out_.rows(), lse_.data()}); });
    dense_out_ = out_;
    NativeSparseTime time;
    seconds.native = slowest([&] {
      time = native_.forward({queries_.rows(), keys_.rows(), values_.rows(), gates_.rows(), out_.rows()}, state_);
    });
    return parts_of(time, seconds);
  }
  NativeSeconds backward() {
    NativeSeconds seconds;
    seconds.dense = slowest([&] {
      dense_.backward({queries_.rows(), keys_.rows(), values_.rows(), dense_out_.rows(), lse_.data(), grad_out_.rows(),
                       grad_queries_.rows(), grad_keys_.rows(), grad_values_.rows()});
    });
    NativeSparseTime time;
    seconds.native = slowest([&] {
      time = native_.backward({queries_.rows(), keys_.rows(), values_.rows(), gates_.rows(), grad_out_.rows(), grad_queries_.rows(),
                               grad_keys_.rows(), grad_values_.rows(), grad_gates_.rows()},
                              state_);
    });
    return parts_of(time, seconds);
  }
  const NativeSparseAttention& native() const { return native_; }
  const NativeSparseState& state() const { return state_; }
  const Tensor& out() const { return out_; }

 private:
  /// The same rows as another attention has.
  static Options with_rows(Options options, Transport& transport, const std::vector<Range>& mine) {
    const RowMap held = gather_row_map(transport, mine);
    std::vector<Chunk> chunks;
    for (std::size_t rank = 0; rank < held.size(); ++rank) {
      for (const Range range : held[rank]) chunks.push_back({range, static_cast<std::int32_t>(rank)});
    }
    options.partition = PartitionChoice::layout(chunks);
    return options;
  }
  double now() const {
    timespec time{};
    ::clock_gettime(thread_clock_ ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }
  template <class Call>
  double slowest(Call&& call) {
    transport_.barrier();
    const double start = now();
    call();
    return maximum_over_ranks(transport_, now() - start);
  }
  NativeSeconds parts_of(const NativeSparseTime& time, NativeSeconds seconds) {
    const auto greatest = [&](double own) { return maximum_over_ranks(transport_, own); };
    seconds.parts.total_seconds = greatest(time.total_seconds);
    seconds.parts.compressing_seconds = greatest(time.compressing_seconds);
    seconds.parts.selecting_seconds = greatest(time.selecting_seconds);
    seconds.parts.planning_seconds = greatest(time.planning_seconds);
    for (std::size_t branch = 0; branch < time.branches.size(); ++branch)
      seconds.parts.branches[branch].total_seconds = greatest(time.branches[branch].total_seconds);
    return seconds;
  }

  Transport& transport_;
  bool thread_clock_;
  NativeSparseAttention native_;
  Attention dense_;
  Tensor queries_, keys_, values_, gates_, grad_out_, out_, grad_queries_, grad_keys_, grad_values_, grad_gates_;
  Tensor dense_out_{0, 1, 1};
  std::vector<float> lse_;
  NativeSparseState state_;
};

/// Means of blocks, in fp32 as whoever stores them has them.
Tensor compressed(const NativeSparse& sparse, const Tensor& rows) {
  Tensor means(PooledBlocks(sparse.block, sparse.stride, rows.tokens).count(), rows.heads, rows.dim);
  for (std::int64_t block = 0; block < means.tokens; ++block) {
    for (std::int64_t at = 0; at < rows.width(); ++at) {
      double sum = 0;
      for (std::int64_t row = 0; row < sparse.block; ++row)
        sum += double{rows.values[static_cast<std::size_t>((block * sparse.stride + row) * rows.width() + at)]};
      means.values[static_cast<std::size_t>(block * rows.width() + at)] =
          static_cast<float>(sum / static_cast<double>(sparse.block));
    }
  }
  return means;
}

Tensor stored(Tensor tensor, Type type) {
  std::vector<std::byte> bytes(tensor.values.size() * sizeof(float));
  const auto count = std::ssize(tensor.values);
  convert(tensor.values.data(), Type::f32, bytes.data(), type, count);
  convert(bytes.data(), type, tensor.values.data(), Type::f32, count);
  return tensor;
}

/// Errors of some rows of a rank against float64, over the largest output.
double error_of(const NativeJob& job, const Inputs& inputs, const Rank& rank) {
  const Problem& p = job.problem;
  const Tensor queries = stored(inputs.queries, p.type), keys = stored(inputs.keys, p.type), values = stored(inputs.values, p.type);
  const Tensor small_keys = stored(compressed(job.sparse, keys), p.type),
               small_values = stored(compressed(job.sparse, values), p.type);
  const Bands seen[] = {PooledBlocks(job.sparse.block, job.sparse.stride, p.key_tokens).staircase().bands(),
                        rank.state().selection->bands(), Mask::window(job.sparse.window - 1).bands()};
  const std::vector<std::int64_t> tokens = listed(rank.native().rows());
  double most = 0, worst = 0;
  for (std::int64_t sample = 0; sample < job.rows && !tokens.empty(); ++sample) {
    const std::int64_t row = (std::ssize(tokens) - 1) * (2 * sample + 1) / (2 * std::int64_t{job.rows}),
                       token = tokens[static_cast<std::size_t>(row)];
    for (int head = 0; head < p.query_heads; ++head) {
      std::vector<double> expected(static_cast<std::size_t>(p.value_dim));
      for (std::size_t branch = 0; branch < std::size(seen); ++branch) {
        const auto* const query = reinterpret_cast<const float*>(queries.rows().row(token, head));
        const ReferencePartial partial = reference_partial(query, token, branch == 0 ? small_keys.rows() : keys.rows(),
                                                           branch == 0 ? small_values.rows() : values.rows(), head / p.group(), 0,
                                                           p.score_rule(), seen[branch], head);
        const double gate = double{*reinterpret_cast<const float*>(inputs.gates.rows().row(token, head) + branch * sizeof(float))};
        for (int channel = 0; channel < p.value_dim; ++channel)
          expected[static_cast<std::size_t>(channel)] += gate * partial.out(channel);
      }
      const auto* const found = reinterpret_cast<const float*>(rank.out().rows().row(row, head));
      for (int channel = 0; channel < p.value_dim; ++channel) {
        most = std::max(most, std::abs(expected[static_cast<std::size_t>(channel)]));
        const double error = std::abs(double{found[channel]} - expected[static_cast<std::size_t>(channel)]);
        worst = error <= worst ? worst : std::isnan(error) ? HUGE_VAL : error;
      }
    }
  }
  return most > 0 ? worst / most : worst;
}

std::array<double, kNativeBranches> shares(const NativeJob& job, const NativeSparseAttention& native) {
  std::array<double, kNativeBranches> pairs{};
  for (std::size_t branch = 0; branch < pairs.size(); ++branch) {
    const Attention* const attention = native.branch(static_cast<NativeBranch>(branch));
    if (attention != nullptr) pairs[branch] = attention->layout().problem.visible_pairs() / job.problem.visible_pairs();
  }
  return pairs;
}

}  // namespace

NativeFigures measure(const NativeJob& job) {
  const Inputs inputs(job);
  NativeFigures figures;
  run_loopback(job.ranks, [&](Transport& transport) {
    Rank rank(transport, job, inputs);
    const bool gradients = job.options.backward != Backward::none;
    rank.forward();  // warms up
    if (gradients) rank.backward();
    for (int round = 0; round < job.rounds; ++round) {
      const NativeSeconds forward = rank.forward();
      const NativeSeconds backward = gradients ? rank.backward() : NativeSeconds{};
      if (transport.rank() != 0) continue;
      figures.forward.push_back(forward);
      if (gradients) figures.backward.push_back(backward);
    }
    const double error = maximum_over_ranks(transport, error_of(job, inputs, rank));
    if (transport.rank() == 0) figures.error = error, figures.pairs = shares(job, rank.native());
  });
  return figures;
}

}  // namespace gyre::bench
