// What readings say, to a person and to a program.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "bench/longbook/command_line.hpp"
#include "bench/longbook/reading.hpp"

namespace gyre::longbook {

/// strategy, partition, perplexity, loss, first_token (its text), seconds {first_token, scoring, rank: the parts of each rank},
/// bytes_sent, bytes_borrowed, positions: [{begin, end, loss}].
nlohmann::ordered_json json_of(const Reading& reading, const std::string& first_token, std::int64_t bin_tokens);

/// A line for the reading, and one for where the time of the mean rank went.
std::string page(const Reading& reading, const std::string& first_token);

}  // namespace gyre::longbook
