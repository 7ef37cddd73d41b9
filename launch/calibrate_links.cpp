#include "launch/calibrate_links.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <stdexcept>
#include <vector>

#include "comm/heartbeat.hpp"
#include "launch/calibrate_kernels.hpp"

namespace gyre {
namespace {

constexpr int kNobody = -1;
constexpr double kPollSeconds = 5e-4;  // of a rank that computes; as the executor's

/// [rank] whom it is measured with, or kNobody.
using Partners = std::vector<int>;

std::vector<std::vector<int>> ranks_of_nodes(std::span<const int> nodes) {
  std::map<int, std::vector<int>> ranks;
  for (int rank = 0; rank < std::ssize(nodes); ++rank) ranks[nodes[rank]].push_back(rank);
  std::vector<std::vector<int>> all;
  all.reserve(ranks.size());
  for (auto& [node, its] : ranks) all.push_back(std::move(its));
  return all;
}

void pair_up(Partners& partners, int a, int b) {
  partners[a] = b, partners[b] = a;
}

/// The first two ranks of every node.
Partners pairs_inside(std::span<const int> nodes) {
  Partners partners(nodes.size(), kNobody);
  for (const auto& ranks : ranks_of_nodes(nodes))
    if (ranks.size() > 1) pair_up(partners, ranks[0], ranks[1]);
  return partners;
}

/// Nodes 0 and 1, 2 and 3, ...: the first ranks of each, at most so many.
Partners pairs_between(std::span<const int> nodes, int most) {
  Partners partners(nodes.size(), kNobody);
  const auto ranks = ranks_of_nodes(nodes);
  for (std::size_t node = 0; node + 1 < ranks.size(); node += 2)
    for (std::size_t rank = 0; rank < std::min({ranks[node].size(), ranks[node + 1].size(), static_cast<std::size_t>(most)});
         ++rank)
      pair_up(partners, ranks[node][rank], ranks[node + 1][rank]);
  return partners;
}

int count(const Partners& partners) {
  return static_cast<int>(std::count_if(partners.begin(), partners.end(), [](int partner) { return partner != kNobody; })) / 2;
}

enum class Ways : std::uint8_t { one, both };

/// One set of pairs, measured at once. Every rank takes part in every step, those without a partner by waiting.
class Pairs {
 public:
  Pairs(Transport& transport, Partners partners, int rounds)
      : transport_(transport), partners_(std::move(partners)), me_(transport.rank()), partner_(partners_[me_]), rounds_(rounds) {}

  bool idle() const { return partner_ == kNobody; }
  int pairs() const { return count(partners_); }
  int rounds() const { return rounds_; }
  bool first_of_pair() const { return me_ < partner_; }

  /// The median of a pair's rounds, where a round is what its slower side took; and of that over the pairs.
  template <class Step>
  double seconds(Step&& step) {
    std::vector<double> mine;
    for (int round = -1; round < rounds_; ++round) {
      transport_.barrier();
      const double start = seconds_now();
      if (!idle()) step();
      if (round >= 0) mine.push_back(slower_side(seconds_now() - start));
    }
    return over_pairs(median_of(mine));
  }

  double slower_side(double mine) {
    std::vector<double> all(partners_.size());
    all_gather_value(transport_, mine, std::span(all));
    return idle() ? 0 : std::max(mine, all[partner_]);
  }

  double over_pairs(double mine) {
    std::vector<double> all(partners_.size()), of_pairs;
    all_gather_value(transport_, mine, std::span(all));
    for (int rank = 0; rank < std::ssize(all); ++rank)
      if (rank < partners_[rank]) of_pairs.push_back((all[rank] + all[partners_[rank]]) / 2);
    return median_of(of_pairs);
  }

  void post(std::vector<Ticket>& tickets, Ways ways, std::span<const std::byte> out, std::span<std::byte> in) {
    if (ways == Ways::both || !first_of_pair()) tickets.push_back(transport_.receive(partner_, 0, in));
    if (ways == Ways::both || first_of_pair()) tickets.push_back(transport_.send(partner_, 0, out));
  }

  /// Throws Stall, LostPeer.
  void wait(std::vector<Ticket>& tickets) {
    Waiting waiting(transport_.heartbeat(), partner_);
    while (!complete(tickets)) waiting.fruitless();
  }
  bool complete(std::vector<Ticket>& tickets) {
    std::erase_if(tickets, [&](Ticket ticket) { return transport_.test(ticket); });
    return tickets.empty();
  }

  Transport& transport() { return transport_; }
  int partner() const { return partner_; }

 private:
  Transport& transport_;
  Partners partners_;
  int me_, partner_, rounds_;
};

/// Messages between pairs.
class Messages {
 public:
  Messages(Pairs& pairs, const CalibrationSizes& sizes)
      : pairs_(pairs), sizes_(sizes), out_(sizes.most_message_bytes, std::byte{1}), in_(sizes.most_message_bytes) {
    pairs.transport().reserve(2 * static_cast<std::size_t>(sizes.small_messages));
  }

  double latency_seconds() {
    constexpr std::size_t kPing = 8;
    const double all = pairs_.seconds([&] {
      for (int ping = 0; ping < sizes_.pings; ++ping)
        for (const bool mine : {pairs_.first_of_pair(), !pairs_.first_of_pair()}) move(mine ? 1 : 0, mine ? 0 : 1, kPing);
    });
    return all / (2.0 * sizes_.pings);
  }

  /// So large that it takes a while, and no larger than needed.
  std::size_t choose_bytes() {
    const std::size_t trial = sizes_.least_message_bytes;
    const double rate = static_cast<double>(trial) / pairs_.seconds([&] { move(1, 1, trial); });
    const double wanted = rate * sizes_.message_seconds;
    return static_cast<std::size_t>(
        std::clamp(wanted, static_cast<double>(sizes_.least_message_bytes), static_cast<double>(sizes_.most_message_bytes)));
  }

  /// Of what a message has beyond its first quarter.
  double bytes_per_second(Ways ways, std::size_t bytes) {
    const auto seconds = [&](std::size_t size) {
      return pairs_.seconds([&] {
        pairs_.post(tickets_, ways, std::span(out_).first(size), std::span(in_).first(size));
        pairs_.wait(tickets_);
      });
    };
    const double whole = seconds(bytes), quarter = seconds(bytes / 4);
    const std::size_t beyond = bytes - bytes / 4;
    const double slope = static_cast<double>(beyond) / std::max(1e-12, whole - quarter);
    const double chord = static_cast<double>(bytes) / whole;
    return std::clamp(slope, chord / 2, 2 * chord);  // noise can make the quarter as slow as the whole
  }

  double message_seconds(double latency) {
    const double all = pairs_.seconds([&] { move(sizes_.small_messages, sizes_.small_messages, 64); });
    return std::max(0.0, all - latency) / (2.0 * sizes_.small_messages);
  }

  /// Work alone and work with an exchange beside it, in turns: what it takes longer, and when the exchange was done.
  void beside_work(TimedWork& work, std::size_t bytes, LinkFigures& figures) {
    const double once = pairs_.seconds([&] { work.run([] {}); });
    const int runs = 1 + static_cast<int>(1.5 * static_cast<double>(bytes) / figures.both_ways_bytes_per_second / once);
    std::vector<double> longer, exchange;
    double done = 0;  // when the exchange was
    const auto work_seconds = [&] {
      const double start = seconds_now();
      for (int run = 0; run < runs && !pairs_.idle(); ++run) work.run([&] { poll(done); });
      return seconds_now() - start;
    };
    pairs_.transport().barrier();
    double alone = work_seconds();
    for (int round = 0; round < pairs_.rounds(); ++round) {
      pairs_.transport().barrier();
      const double start = seconds_now();
      if (!pairs_.idle()) pairs_.post(tickets_, Ways::both, std::span(out_).first(bytes), std::span(in_).first(bytes));
      const double with = work_seconds();
      if (!tickets_.empty()) pairs_.wait(tickets_), done = seconds_now();
      exchange.push_back(pairs_.slower_side(pairs_.idle() ? 0 : done - start));
      const double next = work_seconds();
      longer.push_back(with - (alone + next) / 2);
      alone = next;
    }
    figures.processor_seconds_per_byte = std::max(0.0, pairs_.over_pairs(median_of(longer))) / static_cast<double>(bytes);
    figures.beside_work_bytes_per_second = static_cast<double>(bytes) / pairs_.over_pairs(median_of(exchange));
  }

 private:
  void move(int sends, int receives, std::size_t bytes) {
    for (int message = 0; message < receives; ++message)
      tickets_.push_back(pairs_.transport().receive(pairs_.partner(), 0, std::span(in_).first(bytes)));
    for (int message = 0; message < sends; ++message)
      tickets_.push_back(pairs_.transport().send(pairs_.partner(), 0, std::span(out_).first(bytes)));
    pairs_.wait(tickets_);
  }

  /// As an executor that computes does. done: when all that was in flight is complete.
  void poll(double& done) {
    const double now = seconds_now();
    if (now - polled_ < kPollSeconds) return;
    polled_ = now;
    pairs_.transport().heartbeat().beat();
    if (!tickets_.empty() && pairs_.complete(tickets_)) done = seconds_now();
  }

  Pairs& pairs_;
  const CalibrationSizes& sizes_;
  std::vector<std::byte> out_, in_;
  std::vector<Ticket> tickets_;
  double polled_ = 0;
};

LinkFigures measure_messages(Pairs& pairs, const CalibrationSizes& sizes, TimedWork& work) {
  Messages messages(pairs, sizes);
  LinkFigures figures{.pairs = pairs.pairs(), .message_bytes = messages.choose_bytes()};
  figures.latency_seconds = messages.latency_seconds();
  figures.one_way_bytes_per_second = messages.bytes_per_second(Ways::one, figures.message_bytes);
  figures.both_ways_bytes_per_second = messages.bytes_per_second(Ways::both, figures.message_bytes);
  figures.message_seconds = messages.message_seconds(figures.latency_seconds);
  messages.beside_work(work, figures.message_bytes, figures);
  return figures;
}

/// Bytes a second that this thread reads.
double read_rate(std::span<const std::byte> memory) {
  const double start = seconds_now();
  std::array<std::uint64_t, 8> sums{};
  const auto* const words = reinterpret_cast<const std::uint64_t*>(memory.data());
  const std::size_t count = memory.size() / sizeof(std::uint64_t);
  for (std::size_t word = 0; word + sums.size() <= count; word += sums.size())
    for (std::size_t lane = 0; lane < sums.size(); ++lane) sums[lane] ^= words[word + lane];
  volatile std::uint64_t sink = sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
  static_cast<void>(sink);
  return static_cast<double>(memory.size()) / (seconds_now() - start);
}

/// Throws std::invalid_argument on every rank where a node has too little shared memory.
LoanFigures measure_loans(Pairs& pairs, const CalibrationSizes& sizes) {
  Transport& transport = pairs.transport();
  const auto window = transport.share(pairs.idle() ? 0 : sizes.most_message_bytes);
  std::fill(window->mine().begin(), window->mine().end(), std::byte{1});  // a page that was never written is read from nowhere
  const std::size_t bytes = sizes.most_message_bytes;
  std::vector<Ticket> lent, tickets;
  const auto lend = [&] { lent.push_back(transport.expose(pairs.partner(), bytes)); };
  const auto borrow = [&](auto&& use) {
    tickets.push_back(transport.borrow(pairs.partner(), bytes));
    pairs.wait(tickets);
    use();
    transport.release(pairs.partner());
  };
  LoanFigures figures;
  // There: exposed and seen. And back: released and seen.
  const double trips = pairs.seconds([&] {
    for (int ping = 0; ping < sizes.pings; ++ping) {
      if (!pairs.first_of_pair()) {
        borrow([] {});
        continue;
      }
      lend();
      pairs.wait(lent);
    }
  });
  figures.loan_seconds = trips / (2.0 * sizes.pings);
  std::vector<double> own, neighbour;
  pairs.seconds([&] {
    own.push_back(read_rate(window->mine()));
    lend();
    borrow([&] { neighbour.push_back(read_rate(window->of(pairs.partner()))); });
    pairs.wait(lent);
  });
  figures.own_bytes_per_second = pairs.over_pairs(own.empty() ? 0 : median_of(own));
  figures.neighbour_bytes_per_second = pairs.over_pairs(neighbour.empty() ? 0 : median_of(neighbour));
  return figures;
}

}  // namespace

AllLinkFigures measure_links(Transport& transport, const CalibrateRequest& request) {
  transport.heartbeat().set_stage({"timing links"});
  const CalibrationSizes sizes = sizes_of(request);
  TimedWork work(sizes);
  AllLinkFigures figures;
  if (Partners inside = pairs_inside(transport.nodes()); count(inside) > 0) {
    Pairs pairs(transport, std::move(inside), request.rounds);
    figures.node = measure_messages(pairs, sizes, work);
    try {
      figures.loans = measure_loans(pairs, sizes);
    } catch (const std::invalid_argument& error) {
      figures.unshared = error.what();
    }
  }
  if (Partners between = pairs_between(transport.nodes(), 1); count(between) > 0) {
    Pairs pairs(transport, std::move(between), request.rounds);
    figures.network = measure_messages(pairs, sizes, work);
    const int node_pairs = pairs.pairs();
    Pairs all(transport, pairs_between(transport.nodes(), transport.ranks()), request.rounds);
    figures.ranks_per_node = std::max(1, all.pairs() / node_pairs);
    const double of_one = all.pairs() == node_pairs
                              ? figures.network->both_ways_bytes_per_second
                              : Messages(all, sizes).bytes_per_second(Ways::both, figures.network->message_bytes);
    figures.node_link_bytes_per_second = std::max(figures.network->both_ways_bytes_per_second, of_one * figures.ranks_per_node);
  }
  return figures;
}

}  // namespace gyre
