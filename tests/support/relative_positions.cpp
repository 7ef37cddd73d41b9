#include "support/relative_positions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace gyre::test {
namespace {

struct Angle {
  double cosine, sine;
};

/// Of every pair of channels, by relative position.
class Angles {
 public:
  Angles(const Rotary& rotary, int head_dim) : frequencies_(rotary.frequencies(head_dim)) {}
  const std::vector<Angle>& at(std::int64_t relative) {
    std::vector<Angle>& angles = known_[relative];
    if (!angles.empty()) return angles;
    for (const double frequency : frequencies_) {
      const long double angle = static_cast<long double>(relative) * static_cast<long double>(frequency);
      angles.push_back({static_cast<double>(std::cos(angle)), static_cast<double>(std::sin(angle))});
    }
    return angles;
  }

 private:
  std::vector<double> frequencies_;
  std::map<std::int64_t, std::vector<Angle>> known_;
};

/// A query's gradient by the score is `query` for a key, and the other way around; both are linear.
struct Pairing {
  const Problem& p;
  bool half;
  int pairs;
  double factor;  // m^2

  explicit Pairing(const Problem& problem)
      : p(problem),
        half(p.rotary->layout == RotaryLayout::half),
        pairs(p.rotary->turned_dims(p.head_dim) / 2),
        factor(p.rotary->magnitude() * p.rotary->magnitude()) {}

  int x(int pair) const { return half ? pair : 2 * pair; }
  int y(int pair) const { return half ? pair + pairs : 2 * pair + 1; }

  /// What a score is when multiplied channel by channel with the query.
  std::vector<double> seen_by_query(const float* key, const std::vector<Angle>& angles) const {
    std::vector<double> seen(key, key + p.head_dim);
    for (int pair = 0; pair < pairs; ++pair) {
      const double kx = key[x(pair)], ky = key[y(pair)];
      seen[x(pair)] = factor * (kx * angles[pair].cosine + ky * angles[pair].sine);
      seen[y(pair)] = factor * (ky * angles[pair].cosine - kx * angles[pair].sine);
    }
    return seen;
  }
  std::vector<double> seen_by_key(const float* query, const std::vector<Angle>& angles) const {
    std::vector<double> seen(query, query + p.head_dim);
    for (int pair = 0; pair < pairs; ++pair) {
      const double qx = query[x(pair)], qy = query[y(pair)];
      seen[x(pair)] = factor * (qx * angles[pair].cosine - qy * angles[pair].sine);
      seen[y(pair)] = factor * (qx * angles[pair].sine + qy * angles[pair].cosine);
    }
    return seen;
  }
};

double dot(const std::vector<double>& a, const float* b) {
  double sum = 0;
  for (std::size_t c = 0; c < a.size(); ++c) sum += a[c] * static_cast<double>(b[c]);
  return sum;
}

void add(double* to, double factor, const std::vector<double>& vector) {
  for (std::size_t c = 0; c < vector.size(); ++c) to[c] += factor * vector[c];
}

struct Seen {
  std::int64_t key;
  double score, steepness;  // with its cap; the latter of that
};

}  // namespace

NaiveResult naive_attention(const Problem& p, const Tensors& t, const RelativePosition& relative,
                            const std::vector<float>& grad_out) {
  const bool backward = !grad_out.empty();
  NaiveResult result;
  if (backward) result.queries.resize(t.queries.size()), result.keys.resize(t.keys.size()), result.values.resize(t.values.size());
  const Pairing pairing(p);
  Angles angles(*p.rotary, p.head_dim);
  const Bands bands = p.bands();
  for (std::int64_t row = 0; row < p.query_tokens * p.query_heads; ++row) {
    const std::int64_t position = row / p.query_heads + p.first_query_position();
    const int head = static_cast<int>(row % p.query_heads), key_head = head / p.group();
    const float* const query = t.queries.data() + row * p.head_dim;
    const auto key_row = [&](std::int64_t key) { return key * p.key_heads + key_head; };
    const auto of_key = [&](std::int64_t key) -> const std::vector<Angle>& { return angles.at(relative(position, key)); };
    std::vector<Seen> seen;
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::int64_t key = 0; key < p.key_tokens; ++key) {
      if (!bands.visible(position, key, head)) continue;
      double score = p.score_scale() * dot(pairing.seen_by_query(t.keys.data() + key_row(key) * p.head_dim, of_key(key)), query);
      double steepness = 1;
      if (p.softcap) {
        const double share = std::tanh(score / *p.softcap);
        score = *p.softcap * share, steepness = 1 - share * share;
      }
      seen.push_back({key, score, steepness});
      largest = std::max(largest, score);
    }
    for (const Seen& pair : seen) sum += std::exp(pair.score - largest);
    const double lse = seen.empty() ? -std::numeric_limits<double>::infinity() : largest + std::log(sum);
    std::vector<double> out(p.value_dim);
    for (const Seen& pair : seen) {
      const float* const value = t.values.data() + key_row(pair.key) * p.value_dim;
      for (int c = 0; c < p.value_dim; ++c) out[c] += std::exp(pair.score - lse) * static_cast<double>(value[c]);
    }
    result.lse.push_back(lse);
    result.out.insert(result.out.end(), out.begin(), out.end());
    if (!backward) continue;
    const float* const gradient = grad_out.data() + row * p.value_dim;
    const double product = dot(out, gradient);
    for (const Seen& pair : seen) {
      const double weight = std::exp(pair.score - lse);
      const std::int64_t at = key_row(pair.key);
      const float *const key = t.keys.data() + at * p.head_dim, *const value = t.values.data() + at * p.value_dim;
      double difference = -product;
      for (int c = 0; c < p.value_dim; ++c) {
        difference += static_cast<double>(gradient[c]) * static_cast<double>(value[c]);
        result.values[at * p.value_dim + c] += weight * static_cast<double>(gradient[c]);
      }
      const double slope = weight * difference * pair.steepness * p.score_scale();
      add(result.queries.data() + row * p.head_dim, slope, pairing.seen_by_query(key, of_key(pair.key)));
      add(result.keys.data() + at * p.head_dim, slope, pairing.seen_by_key(query, of_key(pair.key)));
    }
  }
  return result;
}

double relative_error(const std::vector<float>& found, const std::vector<double>& expected) {
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isinf(expected[i]) && static_cast<double>(found[i]) == expected[i]) continue;
    largest = std::max(largest, std::abs(expected[i]));
    const double off = std::abs(static_cast<double>(found[i]) - expected[i]);
    error = off <= error ? error : std::isnan(off) ? HUGE_VAL : off;
  }
  return error == 0 ? 0 : error / largest;
}

}  // namespace gyre::test
