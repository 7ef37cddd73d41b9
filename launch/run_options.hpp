// The options of `gyre run`: names, what they take within which limits, and what help says of them.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <string>

namespace gyre {

inline constexpr int kMostRanksInProcess = 1024;
inline constexpr int kMostRepetitions = 1'000'000;

boost::program_options::options_description describe_run_options();

/// "1 to 65535".
std::string limits_text(double least, double most);

}  // namespace gyre
