#include "comm/contract.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <random>
#include <stdexcept>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/error.hpp"
#include "support/count_allocations.hpp"

namespace contract {
namespace {

using gyre::Ticket;
using gyre::Transport;
using Bytes = std::vector<std::byte>;

struct Message {
  int source = 0;
  int destination = 0;
  int lane = 0;
  std::size_t bytes = 0;
};

/// The same on every rank. Sizes on both sides of what MPI sends eagerly (4 KiB and 64 KiB), and of nothing.
std::vector<Message> random_messages(int ranks, std::uint64_t seed) {
  constexpr std::array<std::size_t, 7> kSizes{0, 1, 17, 1000, 5000, 70'000, 0};
  std::mt19937_64 random(seed);
  const auto below = [&](int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random); };
  std::vector<Message> messages(30 + 8 * ranks);
  for (Message& message : messages) {
    message = {.source = below(ranks), .destination = below(ranks), .lane = below(4), .bytes = kSizes[below(kSizes.size())]};
  }
  return messages;
}

Bytes content(std::size_t message, std::size_t size) {
  std::mt19937 random(static_cast<unsigned>(message));
  Bytes bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// Messages in an order of this rank's own that keeps the order within every lane.
std::vector<std::size_t> posting_order(const std::vector<Message>& messages, int rank, std::mt19937_64& random) {
  std::vector<std::size_t> order(messages.size());
  std::array<std::size_t, 4> next{};  // by lane: how many of its messages were taken
  for (std::size_t& index : order) {
    do {
      const std::size_t lane = random() % next.size();
      std::size_t& from = next[lane];
      index = from;
      while (index < messages.size() && messages[index].lane != int(lane)) ++index;
      from = std::min(index + 1, messages.size());
    } while (index == messages.size());
  }
  std::erase_if(order, [&](std::size_t index) { return messages[index].source != rank && messages[index].destination != rank; });
  return order;
}

/// Tests in random order, now and then progress() alone, until all are complete.
void complete(Transport& transport, std::vector<Ticket> tickets, std::mt19937_64& random) {
  while (!tickets.empty()) {
    const std::size_t chosen = random() % tickets.size();
    if (random() % 4 == 0) transport.progress();
    if (!transport.test(tickets[chosen])) continue;
    tickets[chosen] = tickets.back();
    tickets.pop_back();
  }
}

template <class Error>
std::string message_of(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::string unequal(const std::string& what, const std::string& found, const std::string& expected) {
  return found == expected ? "" : what + ": found `" + found + "`, expected `" + expected + "`";
}

}  // namespace

std::string random_exchanges_arrive(Transport& transport, std::uint64_t seed) {
  const int rank = transport.rank();
  const std::vector<Message> messages = random_messages(transport.ranks(), seed);
  std::mt19937_64 random(seed * 1000 + rank);
  std::vector<Bytes> sent(messages.size());
  std::vector<Bytes> received(messages.size());
  std::vector<Ticket> tickets;
  const gyre::Traffic before = transport.traffic();
  gyre::Traffic expected = before;

  for (const std::size_t index : posting_order(messages, rank, random)) {
    const Message& message = messages[index];
    if (message.source == rank) {
      sent[index] = content(index, message.bytes);
      tickets.push_back(transport.send(message.destination, message.lane, sent[index]));
      expected.bytes_sent += message.bytes;
      ++expected.messages_sent;
    }
    if (message.destination == rank) {
      received[index].assign(message.bytes, std::byte{0xee});
      tickets.push_back(transport.receive(message.source, message.lane, received[index]));
      expected.bytes_received += message.bytes;
    }
  }
  complete(transport, tickets, random);

  for (std::size_t index = 0; index < messages.size(); ++index) {
    if (messages[index].destination == rank && received[index] != content(index, messages[index].bytes)) {
      return "seed " + std::to_string(seed) + ": message " + std::to_string(index) + " did not arrive as it was sent";
    }
  }
  const gyre::Traffic after = transport.traffic();
  if (after.bytes_sent != expected.bytes_sent || after.bytes_received != expected.bytes_received ||
      after.messages_sent != expected.messages_sent) {
    return "traffic does not count the bytes of the messages";
  }
  return "";
}

std::string collectives_deliver(Transport& transport) {
  const int ranks = transport.ranks();
  for (int round = 0; round < 20; ++round) {
    std::vector<int> all(ranks, -1);
    gyre::all_gather_value(transport, 100 * round + transport.rank(), std::span(all));
    for (int rank = 0; rank < ranks; ++rank) {
      if (all[rank] != 100 * round + rank) return "all_gather gave a wrong value for rank " + std::to_string(rank);
    }
    const int root = round % ranks;
    std::array<int, 3> values{transport.rank(), round, root};
    transport.broadcast(std::as_writable_bytes(std::span(values)), root);
    if (values != std::array<int, 3>{root, round, root}) return "broadcast did not give the root's values";
    if (round % 3 == 0) transport.barrier();
  }
  for (const std::size_t size : {1, 17, 5000, 20'000, 70'000}) {
    const auto content_of = [&](int rank) { return content(static_cast<std::size_t>(rank), size); };
    Bytes everybody(size * static_cast<std::size_t>(ranks), std::byte{0xee}), expected;
    transport.all_gather(content_of(transport.rank()), everybody);
    for (int rank = 0; rank < ranks; ++rank) {
      const Bytes theirs = content_of(rank);
      expected.insert(expected.end(), theirs.begin(), theirs.end());
    }
    if (everybody != expected) return "all_gather of " + std::to_string(size) + " bytes mixed blocks up";
    Bytes one = content_of(transport.rank());
    transport.broadcast(one, ranks - 1);
    if (one != content_of(ranks - 1)) return "broadcast of " + std::to_string(size) + " bytes did not arrive";
  }
  transport.all_gather({}, {});
  transport.broadcast({}, 0);
  return "";
}

std::string folds_have_the_same_bits(Transport& transport) {
  const auto value_of = [](int rank) { return (rank % 2 ? -1e16 : 1e16) + 1.0 / (rank + 3); };
  double sum = value_of(0);
  double plain = value_of(0);
  for (int rank = 1; rank < transport.ranks(); ++rank) {
    sum += value_of(rank);
    plain = std::max(plain, value_of(rank));
  }
  const double mine = value_of(transport.rank());
  const auto bits = [](double value) { return std::bit_cast<std::uint64_t>(value); };
  if (bits(gyre::sum_over_ranks(transport, mine)) != bits(sum)) return "the sum is not folded in rank order";
  if (gyre::maximum_over_ranks(transport, mine) != plain) return "the maximum is wrong";
  if (gyre::minimum_over_ranks(transport, -mine) != -plain) return "the minimum is wrong";
  const std::uint64_t rank = transport.rank();
  const std::uint64_t ranks = transport.ranks();
  if (gyre::sum_over_ranks(transport, rank + 1) != ranks * (ranks + 1) / 2) return "the sum of integers is wrong";
  return "";
}

std::string agreement_names_both_sides(Transport& transport) {
  const int ranks = transport.ranks();
  const auto disagreement = [&](const gyre::Statement& statement) {
    return message_of<gyre::Disagreement>([&] { gyre::agree(transport, statement); });
  };
  std::string wrong = unequal("equal statements", disagreement({{"tokens", "1024"}, {"mask", "causal"}}), "nothing was thrown");
  for (int odd = 0; odd < ranks && ranks > 1 && wrong.empty(); ++odd) {
    const bool mine = transport.rank() == odd;
    const bool first_wins = odd != 0 || ranks == 2;  // the majority stands first; two ranks are a tie
    const int first = first_wins ? 0 : 1;
    const int second = odd == 0 ? (first_wins ? 1 : 0) : odd;
    const auto value = [&](int rank) { return std::string(rank == odd ? "128" : "64") + " on rank " + std::to_string(rank); };
    wrong += unequal("one value differs",
                     disagreement({{"tokens", "1024"}, {"head_dim", mine ? "128" : "64"}, {"seed", mine ? "1" : "2"}}),
                     "ranks disagree on head_dim: " + value(first) + ", " + value(second) + "; give every rank the same");

    const auto more = [&](int rank) { return (rank == odd ? "causal" : "not given") + (" on rank " + std::to_string(rank)); };
    wrong += unequal("one statement has more in front",
                     disagreement(mine ? gyre::Statement{{"mask", "causal"}, {"tokens", "8"}} : gyre::Statement{{"tokens", "8"}}),
                     "ranks disagree on mask: " + more(first) + ", " + more(second) + "; give every rank the same");
  }
  if (ranks > 1) {  // names and values must not run together: "ab" + "c" is not "a" + "bc"
    const bool mine = transport.rank() == 1;
    if (disagreement({{mine ? "ab" : "a", mine ? "c" : "bc"}}) == "nothing was thrown") wrong += "a name ran into its value";
  }
  return wrong;
}

std::string together_fails_on_every_rank(Transport& transport) {
  const int last = transport.ranks() - 1;
  const auto failure = [&](const std::function<void()>& step) {
    return message_of<std::invalid_argument>([&] { gyre::together(transport, step); });
  };
  std::string wrong = unequal("no failure", failure([] {}), "nothing was thrown");
  wrong += unequal("all fail", failure([&] { throw std::runtime_error("rank " + std::to_string(transport.rank())); }), "rank 0");
  wrong += unequal("the last fails", failure([&] {
                     if (transport.rank() == last) throw std::out_of_range("no such file");
                   }),
                   "no such file");
  wrong += unequal("something else is thrown", failure([&] {
                     if (transport.rank() == last) throw 7;
                   }),
                   "an error that is not a std::exception");
  return wrong;
}

std::string wrong_arguments_are_refused(Transport& transport) {
  const int ranks = transport.ranks();
  std::array<std::byte, 4> bytes{};
  std::string wrong = unequal("a peer that does not exist", message_of<std::invalid_argument>([&] {
                                const Ticket ticket = transport.send(ranks, 0, bytes);
                                while (!transport.test(ticket)) {
                                }
                              }),
                              "rank " + std::to_string(ranks) + " does not exist; ranks are 0 to " + std::to_string(ranks - 1));
  const Ticket sent = transport.send(transport.rank(), 0, bytes);
  const Ticket received = transport.receive(transport.rank(), 0, bytes);
  for (const Ticket ticket : {sent, received}) {
    while (!transport.test(ticket)) {
    }
  }
  if (message_of<std::logic_error>([&] { transport.test(sent); }) == "nothing was thrown") wrong += "a dead ticket was tested";
  return wrong;
}

std::string exchanges_allocate_nothing_after_reserve(Transport& transport) {
  constexpr int kLanes = 8;
  const int right = (transport.rank() + 1) % transport.ranks();
  const int left = (transport.rank() + transport.ranks() - 1) % transport.ranks();
  const Bytes source(20'000, std::byte{1});
  std::vector<Bytes> destination(kLanes, Bytes(source.size()));
  std::array<Ticket, 2 * kLanes> tickets{};
  transport.reserve(tickets.size());
  const std::uint64_t before = allocations_of_this_thread();
  for (int round = 0; round < 5; ++round) {
    for (int lane = 0; lane < kLanes; ++lane) {
      tickets[lane] = transport.send(right, lane, source);
      tickets[kLanes + lane] = transport.receive(left, lane, destination[lane]);
    }
    for (const Ticket ticket : tickets) {
      while (!transport.test(ticket)) {
      }
    }
    transport.progress();
  }
  const std::uint64_t allocations = allocations_of_this_thread() - before;
  return allocations == 0 ? "" : std::to_string(allocations) + " allocations after reserve()";
}

std::string error_of_unequal_sizes(Transport& transport, std::size_t sent, std::size_t expected) {
  Bytes bytes(std::max(sent, expected));
  if (transport.rank() > 1) return "";
  return message_of<std::logic_error>([&] {
    const Ticket ticket = transport.rank() == 0 ? transport.send(1, 3, std::span(bytes).first(sent))
                                                : transport.receive(0, 3, std::span(bytes).first(expected));
    while (!transport.test(ticket)) {
    }
  });
}

std::string everything(Transport& transport) {
  std::string wrong;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) wrong += random_exchanges_arrive(transport, seed);
  wrong += collectives_deliver(transport);
  wrong += random_exchanges_arrive(transport, 5);
  wrong += folds_have_the_same_bits(transport);
  wrong += agreement_names_both_sides(transport);
  wrong += together_fails_on_every_rank(transport);
  wrong += wrong_arguments_are_refused(transport);
  wrong += memory_is_shared_inside_a_node(transport);
  for (std::uint64_t seed = 1; seed <= 2; ++seed) wrong += loans_are_read_where_they_lie(transport, seed);
  wrong += wrong_loans_are_refused(transport);
  return wrong;
}

}  // namespace contract
