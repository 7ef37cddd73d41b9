#include "runtime/attention.hpp"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <iomanip>
#include <limits>
#include <map>
#include <new>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

#include "comm/agreement.hpp"
#include "comm/heartbeat.hpp"
#include "kernels/pages.hpp"
#include "runtime/borrowing.hpp"
#include "runtime/choose.hpp"
#include "runtime/instruction_set.hpp"
#include "runtime/operand_checks.hpp"
#include "runtime/schedules/schedules.hpp"
#include "runtime/sink_gradients.hpp"

namespace gyre {
namespace {

/// Of what the mask says, where its text names files: every band, every table, and every border of documents, also of those that
/// are no band of their own: units may be cut there.
std::uint64_t hash_of(const Mask& mask) {
  const Bands& bands = mask.bands();
  std::uint64_t hash = XXH3_64bits(mask.borders().data(), mask.borders().size_bytes());
  const auto add = [&](const void* data, std::size_t bytes) { hash = XXH3_64bits_withSeed(data, bytes, hash); };
  for (const Band& band : bands.all()) {
    const std::int64_t numbers[] = {band.queries.begin, band.queries.end, band.keys.begin, band.keys.end,
                                    band.lower,         band.upper,       band.modulus,    band.residue};
    add(numbers, sizeof numbers);
    for (std::int64_t table = 0; table < std::ssize(bands.tables()); ++table) {
      const BlockTable* const at = bands.tables()[table].get();
      const std::int64_t carried[] = {table, at == band.blocks, at == band.diagonals};
      if (carried[1] != 0 || carried[2] != 0) add(carried, sizeof carried);
    }
  }
  for (const auto& table : bands.tables()) {
    const auto [query_tokens, key_tokens, heads, rows, columns] = table->shape();
    const std::int64_t numbers[] = {query_tokens, key_tokens, heads, rows, columns};
    add(numbers, sizeof numbers);
    add(table->words().data(), table->words().size_bytes());
  }
  return hash;
}

/// Of a caller's own layout, whose text names files or nothing.
std::uint64_t hash_of(const PartitionChoice& choice) {
  std::vector<std::int64_t> numbers;
  for (const auto* chunks : {&choice.query_chunks, &choice.key_chunks}) {
    numbers.push_back(std::ssize(*chunks));
    for (const Chunk& chunk : *chunks) numbers.insert(numbers.end(), {chunk.tokens.begin, chunk.tokens.end, chunk.rank});
  }
  return XXH3_64bits(numbers.data(), numbers.size() * sizeof(std::int64_t));
}

/// Everything that `build` depends on, and what else has to be the same for ranks to compute one result.
Statement statement_of(const Problem& problem, const Options& options, const KernelTable& kernels) {
  const auto text = [](auto value) {
    std::ostringstream digits;
    digits << std::setprecision(std::numeric_limits<double>::max_digits10) << value;
    return digits.str();
  };
  const std::string machine = to_json(options.machine);
  return {{"version", version()},
          {"query tokens", text(problem.query_tokens)},
          {"key tokens", text(problem.key_tokens)},
          {"query heads", text(problem.query_heads)},
          {"key/value heads", text(problem.key_heads)},
          {"head dim", text(problem.head_dim)},
          {"value dim", text(problem.value_dim)},
          {"query offset", text(problem.first_query_position())},
          {"scale", text(problem.score_scale())},
          {"softcap", problem.softcap ? text(*problem.softcap) : "none"},
          {"position bias", problem.bias == PositionBias::alibi ? "alibi" : "none"},
          {"sink logits", problem.sinks == SinkLogits::learned ? "learned" : "none"},
          {"dropout", problem.dropout ? text(problem.dropout->probability) + ", seed " + text(problem.dropout->seed) : "none"},
          {"rotary positions", problem.rotary ? to_string(*problem.rotary) : "none"},
          {"dual chunk", problem.dual_chunk ? to_string(*problem.dual_chunk) : "none"},
          {"dtype", to_string(problem.type)},
          {"integrity", options.integrity == Integrity::checked ? "checked" : "unchecked"},
          {"mask", problem.mask.text()},
          {"mask's files", text(hash_of(problem.mask))},
          {"partition", options.partition.text()},
          {"partition's chunks", text(hash_of(options.partition))},
          {"strategy", to_string(options.strategy)},
          {"backward", to_string(options.backward)},
          {"machine", text(XXH3_64bits(machine.data(), machine.size()))},
          {"unit", text(options.unit_tokens)},
          {"prefetch", text(options.prefetch)},
          {"piece bytes", text(options.piece_bytes)},
          {"deadline", text(options.deadline_seconds)},
          {"shared memory", options.sharing == Sharing::off ? "off" : "auto"},
          {"instruction set", kernels.name}};
}

/// Refuses at once what no planning can make fit: packed queries, partials and own cells of a rank's share, at their least; or,
/// backward, queries that ask, own cells, and gradients of one of the two.
void require_memory(const Problem& problem, const Options& options, int ranks) {
  const double queries = static_cast<double>(problem.query_tokens) / ranks * problem.query_heads;
  const double keys = static_cast<double>(problem.key_tokens) / ranks * problem.key_heads;
  const double element = static_cast<double>(type_bytes(problem.type));
  const double dims = problem.head_dim + problem.value_dim;
  const double query_dims = static_cast<double>(problem.query_forms()) * problem.head_dim;
  const double forward = queries * (element * query_dims + 8.0 * problem.value_dim) + keys * element * dims;
  const double backward = queries * element * (query_dims + problem.value_dim) + keys * element * dims +
                          8.0 * std::min(queries * query_dims, keys * dims);
  const double needed = options.backward == Backward::none ? forward : std::max(forward, backward);
  const double there = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (needed <= there) return;
  std::ostringstream text;
  text << "a rank's share needs " << std::ceil(needed / 1e9) << " GB and its machine has " << std::floor(there / 1e9)
       << " GB; use more ranks on more nodes";
  throw std::invalid_argument(text.str());
}

std::int64_t token_count(const std::vector<Range>& rows) {
  std::int64_t tokens = 0;
  for (const Range& range : rows) tokens += range.size();
  return tokens;
}

}  // namespace

namespace {

/// What is built for one pass.
struct Direction {
  Schedule schedule;  // where nothing is shared
  Program program;    // until the executor has it
  std::unique_ptr<Executor> executor;
};

}  // namespace

struct Attention::State {
  Transport& transport;
  Options options;  // with what travels backward resolved
  const KernelTable& kernels;
  Layout layout;
  Choice choice;  // resolved
  Team team;
  std::vector<Range> query_rows, key_rows;
  LocalTokens tokens;
  std::vector<std::uint8_t> refused;  // [rank] whether its operands do not fit
  std::map<Pass, Direction> directions;
  std::optional<SinkGradients> sink_gradients;  // where there are any
  std::string unshared;

  State(Transport& a_transport, const Problem& problem, const Options& given, const KernelTable& a_kernels)
      : transport(a_transport),
        options(given),
        kernels(a_kernels),
        layout(problem, options, transport.ranks()),
        choice(choose(options.machine.with_instruction_set(kernels.name))),
        team(options.threads),
        query_rows(rows_of(layout.query_units, layout.queries, transport.rank())),
        key_rows(rows_of(layout.key_units, layout.keys, transport.rank())),
        tokens{token_count(query_rows), token_count(key_rows)},
        refused(transport.ranks()) {
    options.backward = choice.backward;
    if (options.backward != Backward::none && problem.sinks == SinkLogits::learned)
      sink_gradients.emplace(problem, transport.ranks());
    if (options.sharing == Sharing::off) unshared = "switched off";
    directions[Pass::forward].schedule = make_schedule(choice.strategy, layout, options);
    if (options.backward != Backward::none)
      directions[Pass::backward].schedule = make_schedule(choice.strategy, layout, options, Pass::backward);
    for (auto& [pass, direction] : directions) direction.program = as_it_runs(direction)(transport.rank());
  }

  Choice choose(const Machine& machine) const {
    if (options.strategy.kind == Strategy::automatic) return choose_strategy(layout, options, transport.nodes(), machine);
    const StrategyChoice strategy = resolve(options.strategy, transport.nodes());
    return {strategy, "", choose_backward(strategy, layout, options, transport.nodes(), machine)};
  }

  /// Cells of a node are borrowed where it shares memory.
  Schedule as_it_runs(const Direction& direction) const {
    const std::span<const int> nodes = transport.nodes();
    if (!unshared.empty()) return direction.schedule;
    return borrow_inside_nodes(direction.schedule, layout, {nodes.begin(), nodes.end()});
  }

  const Direction& direction(Pass pass) const {
    const auto found = directions.find(pass);
    if (found != directions.end()) return found->second;
    throw std::invalid_argument(
        "this Attention computes no gradients, for they take memory; set Options::backward to another than none when it is made");
  }
  const Program& program(Pass pass) const { return direction(pass).executor->program(); }

  /// Most of both passes, which never run at the same time.
  std::int64_t most(std::int64_t Program::*bytes) const {
    std::int64_t most = 0;
    for (const auto& [pass, direction] : directions)
      most = std::max(most, (direction.executor ? direction.executor->program() : direction.program).*bytes);
    return most;
  }

  /// Memory for what this rank lends. A node that has too little of it shares nothing, and then no node does. Collective.
  std::unique_ptr<SharedMemory> share() {
    if (!unshared.empty()) return nullptr;
    try {
      return transport.share(static_cast<std::size_t>(most(&Program::window_bytes)));
    } catch (const std::invalid_argument& error) {  // the same on every rank
      unshared = error.what();
      return nullptr;
    }
  }

  void prepare(std::shared_ptr<SharedMemory> window) {
    if (!unshared.empty()) {
      for (auto& [pass, direction] : directions) direction.program = direction.schedule(transport.rank());
    }
    const Memory memory{.arena = allocate_cells(most(&Program::arena_bytes)), .window = std::move(window)};
    for (auto& [pass, direction] : directions)
      direction.executor = std::make_unique<Executor>(std::move(direction.program), layout, transport, team, kernels, memory);
  }

  /// One byte from every rank; only when one says no does the message travel. Allocates nothing when all is well.
  template <class Require>
  void require_everywhere(Require&& require) {
    std::exception_ptr failure;
    try {
      require();
    } catch (const std::invalid_argument&) {
      failure = std::current_exception();
    }
    all_gather_value<std::uint8_t>(transport, failure != nullptr, refused);
    if (std::none_of(refused.begin(), refused.end(), [](std::uint8_t no) { return no != 0; })) return;
    together(transport, [&] {
      if (failure) std::rethrow_exception(failure);
    });
  }

  CallTime call(Pass pass, const auto& operands, const CallOptions& call_options) {
    const auto start = std::chrono::steady_clock::now();
    const auto require = [&] {
      direction(pass);  // another rank may refuse, and then this one has to hear of it
      require_operands(operands, layout.problem, tokens);
    };
    if (call_options.wire == Wire::live) require_everywhere(require);
    const double agreeing_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    CallTime time = direction(pass).executor->run(operands, call_options);
    time.total_seconds += agreeing_seconds;
    time.waiting_seconds += agreeing_seconds;  // for the last rank to arrive
    return time;
  }
};

namespace {

/// together(), where what fails may be memory.
template <class Step>
void together_within_memory(Transport& transport, const Problem& problem, Step&& step) {
  together(transport, [&] {
    try {
      step();
    } catch (const std::bad_alloc&) {
      throw std::invalid_argument("rank " + std::to_string(transport.rank()) + " cannot have the memory for its share of " +
                                  std::to_string(problem.key_tokens) + " keys; use more ranks on more nodes");
    }
  });
}

}  // namespace

Attention::Attention(Transport& transport, const Problem& problem, const Options& options) {
  together(transport, [&] {
    problem.validate();
    options.validate();
    require_memory(problem, options, transport.ranks());
  });
  const KernelTable& kernels = agree_on_kernels(transport, options.isa);
  agree(transport, statement_of(problem, options, kernels));
  transport.heartbeat().set_deadline(options.deadline_seconds);
  together_within_memory(transport, problem, [&] { state_ = std::make_unique<State>(transport, problem, options, kernels); });
  auto window = state_->share();
  together_within_memory(transport, problem, [&] { state_->prepare(std::move(window)); });
  if (state_->sink_gradients) state_->sink_gradients->rehearse(transport);
}

Attention::~Attention() = default;
Attention::Attention(Attention&&) noexcept = default;
Attention& Attention::operator=(Attention&&) noexcept = default;

CallTime Attention::forward(const Operands& operands, const CallOptions& options) {
  return state_->call(Pass::forward, operands, options);
}

CallTime Attention::backward(const GradientOperands& operands, const CallOptions& options) {
  CallTime time = state_->call(Pass::backward, operands, options);
  if (!state_->sink_gradients) return time;
  const auto start = std::chrono::steady_clock::now();
  state_->sink_gradients->sum(state_->transport, state_->team, operands, options.wire);
  time.total_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return time;
}

void Attention::refuse(const std::string& message) {
  state_->require_everywhere([&] { throw std::invalid_argument(message); });
  std::terminate();  // this rank said no
}

const std::vector<Range>& Attention::query_rows() const {
  return state_->query_rows;
}
const std::vector<Range>& Attention::key_rows() const {
  return state_->key_rows;
}
const Layout& Attention::layout() const {
  return state_->layout;
}
StrategyChoice Attention::strategy() const {
  return state_->choice.strategy;
}
const std::string& Attention::why() const {
  return state_->choice.why;
}
Backward Attention::travels_backward() const {
  return state_->options.backward;
}
const char* Attention::isa() const {
  return state_->kernels.name;
}
const Program& Attention::program(Pass pass) const {
  return state_->program(pass);
}
Schedule Attention::schedule(Pass pass) const {
  return state_->as_it_runs(state_->direction(pass));
}
Simulation Attention::simulate(const Machine& machine, Pass pass) const {
  PairCounts counts(state_->layout);
  return gyre::simulate(schedule(pass), state_->transport.nodes(), machine, counts);
}
std::vector<double> Attention::replay_of(const Machine& machine, Pass pass) const {
  PairCounts counts(state_->layout);
  std::vector<double> seconds;
  for (const CostedInstruction& instruction : costs_of(program(pass), machine, counts).instructions)
    seconds.push_back(instruction.seconds);
  return seconds;
}
std::int64_t Attention::arriving_bytes(Pass pass) const {
  return gyre::arriving_bytes(program(pass), state_->layout);
}
std::int64_t Attention::dense_bytes(Pass pass) const {
  const Layout dense = state_->layout.without_mask();
  const Schedule schedule = make_schedule(state_->choice.strategy, dense, state_->options, pass);
  return gyre::arriving_bytes(schedule(state_->transport.rank()), dense);
}
const std::string& Attention::unshared() const {
  return state_->unshared;
}
std::int64_t Attention::arena_bytes() const {
  return state_->most(&Program::arena_bytes) + state_->most(&Program::window_bytes);
}
std::int64_t Attention::scratch_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& [pass, direction] : state_->directions) bytes += direction.executor->scratch_bytes();
  return bytes;
}

const char* version() {
  return GYRE_VERSION;
}

}  // namespace gyre
