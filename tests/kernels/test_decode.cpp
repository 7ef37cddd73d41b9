// Few query rows against many keys: the units of a row are shared out to threads.
#include <array>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "kernels/attend_case.hpp"
#include "kernels/shapes.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

constexpr std::array kTypes = {Type::f32, Type::bf16, Type::f16};

/// Some cells of few rows at the end of the keys; units of keys that end raggedly, are skipped, or are seen in part.
std::vector<CaseShape> decode_shapes() {
  std::vector<CaseShape> list;
  std::uint64_t seed = 400;
  for (const int tokens : {1, 2, 3, 5}) {
    for (const int group : {1, 2, 3, 4, 7, 8, 13, 16}) {
      if (tokens * group > kMostFewRows) continue;
      for (const char* mask : {"full", "causal", "window(33) | sinks(5)", "dilated(40,3)", "documents(90,1,209) & causal"}) {
        const bool odd = ++seed % 2 == 1;
        list.push_back({.head_dim = odd ? 72 : 16,
                        .value_dim = odd ? 40 : 88,
                        .group = group,
                        .key_heads = 1 + static_cast<int>(seed % 3 == 0),
                        .query_tokens = 2 * tokens,
                        .key_tokens = 300,
                        .query_unit = tokens,
                        .key_unit = std::array{7, 48, 100, 150}[seed % 4],
                        .query_offset = 300 - 2 * tokens - static_cast<int>(seed % 5),
                        .mask = mask,
                        .size = seed % 7 == 0 ? 30.0 : 1.5,
                        .softcap = seed % 4 == 0 ? 20.0 : 0.0,
                        .type = kTypes[seed % 3],
                        .seed = seed});
      }
    }
  }
  return list;
}

std::vector<float> bits_of(AttendCase& attend, const KernelTable& kernels, int threads, int strips_per_block) {
  attend.clear();
  attend.run(kernels, threads, strips_per_block);
  return attend.partial_bits();
}

}  // namespace

TEST_CASE("few rows whose units are shared out to threads have the bits that they have among others") {
  for (const CaseShape& shape : decode_shapes()) {
    AttendCase attend(shape);
    for (const KernelTable* kernels : available_kernels()) {
      const std::vector<float> among_others = bits_of(attend, *kernels, 1, 2);
      for (const int threads : {1, 2, 3, 4, 8}) {
        INFO(kernels->name << ", " << threads << " threads: " << shape.text());
        CHECK(same_bits(among_others, bits_of(attend, *kernels, threads, 1)));
      }
    }
  }
}

TEST_CASE("rows that have met keys before go on where they were, whoever takes their units") {
  AttendCase attend({.group = 4, .query_tokens = 1, .key_tokens = 400, .query_unit = 1, .key_unit = 16, .type = Type::bf16});
  const std::vector<float> expected = bits_of(attend, select_kernels(), 1, 0);
  for (const int threads : {1, 2, 4}) {
    Team team(threads);
    attend.clear();
    const auto scratch = std::make_shared<AttendScratch>(threads);
    for (const std::vector<int>& units : {std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, std::vector<int>{13},
                                          std::vector<int>{14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24}}) {
      Attend(attend.work({0}, units), select_kernels(), threads, 0, scratch).run(team, [] {});
    }
    CHECK(same_bits(expected, attend.partial_bits()));
  }
}

TEST_CASE("another thread makes progress on the keys of one row while the caller is held up") {
  AttendCase attend({.query_tokens = 1, .key_tokens = 640, .query_unit = 1, .key_unit = 64});
  Team team(2);
  Attend pass(attend.work(), select_kernels(), 2);
  bool shared = true;
  double own = 0;
  pass.run(team, [&] {
    own = std::min(own + pass.work() / 10, pass.work() - pass.work() / 10);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (pass.work_done() < own && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    shared = shared && pass.work_done() >= own;
  });
  CHECK(shared);
  CHECK(pass.work_done() == pass.work());
}

TEST_CASE("a poll that fails while units are shared out ends the run, and the next one is right") {
  AttendCase attend({.query_tokens = 1, .key_tokens = 2000, .query_unit = 1, .key_unit = 10});
  const std::vector<float> expected = bits_of(attend, select_kernels(), 1, 0);
  Team team(3);
  Attend pass(attend.work(), select_kernels(), 3);
  CHECK_THROWS_AS(pass.run(team, [] { throw std::runtime_error("no"); }), std::runtime_error);
  attend.clear();
  pass.run(team, [] {});
  CHECK(same_bits(expected, attend.partial_bits()));
}

TEST_CASE("memory for shared out units depends on threads, not on keys, and is there before the run") {
  std::size_t bytes[2];
  for (const int longer : {0, 1}) {
    AttendCase attend({.group = 8, .query_tokens = 1, .key_tokens = longer != 0 ? 6400 : 640, .query_unit = 1});
    Team team(2);
    Attend pass(attend.work(), select_kernels(), 2);
    bytes[longer] = pass.scratch_bytes();
    pass.run(team, [] {});
    CHECK(pass.scratch_bytes() == bytes[longer]);
  }
  CHECK(bytes[0] > 0);
  CHECK(bytes[0] == bytes[1]);
}

}  // namespace gyre::testing
