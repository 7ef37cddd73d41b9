// What every transport promises, written once.
//
// A clause runs on all ranks and returns what is wrong, or nothing. It asserts nothing itself: Catch2 is not safe in the threads of
// loopback, and under MPI a rank that fails alone leaves the others waiting. The caller gathers complaints and asserts then.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "comm/transport.hpp"

namespace contract {

using Clause = std::function<std::string(gyre::Transport&)>;

/// Messages of random sizes between random pairs (also a rank and itself) on random lanes, posted in an order that differs by rank
/// but for the order within a lane, arrive intact; traffic counts their bytes.
std::string random_exchanges_arrive(gyre::Transport& transport, std::uint64_t seed);
std::string collectives_deliver(gyre::Transport& transport);
std::string folds_have_the_same_bits(gyre::Transport& transport);
std::string agreement_names_both_sides(gyre::Transport& transport);
std::string together_fails_on_every_rank(gyre::Transport& transport);
std::string wrong_arguments_are_refused(gyre::Transport& transport);

/// Shared memory of a different size on every rank (none on some) begins zeroed, and can be read by the ranks of the node alone.
std::string memory_is_shared_inside_a_node(gyre::Transport& transport);
/// Many rounds of loans between all ranks of a node, two at a time between each pair, in an order that differs by rank: a borrower
/// finds what the owner wrote before it exposed, and the owner poisons it as soon as it is released.
std::string loans_are_read_where_they_lie(gyre::Transport& transport, std::uint64_t seed);
std::string wrong_loans_are_refused(gyre::Transport& transport);
std::string more_memory_than_there_is_is_refused(gyre::Transport& transport);

std::string exchanges_allocate_nothing_after_reserve(gyre::Transport& transport);

/// Posts `sent` bytes from rank 0 to rank 1, which expects `expected`; what this rank's test() threw as a std::logic_error.
std::string error_of_unequal_sizes(gyre::Transport& transport, std::size_t sent, std::size_t expected);

/// All clauses above that every transport keeps, whatever faults delay it.
std::string everything(gyre::Transport& transport);

}  // namespace contract
