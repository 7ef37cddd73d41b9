#include "bench/kernels/shape.hpp"

#include <sstream>
#include <stdexcept>

namespace gyre::bench {
namespace {

void require(bool holds, const std::string& what, std::int64_t value, const std::string& remedy) {
  if (!holds) throw std::invalid_argument(what + " is " + std::to_string(value) + ": " + remedy);
}

}  // namespace

std::string to_string(Pass pass) {
  switch (pass) {
    case Pass::forward:
      return "forward";
    case Pass::backward:
      return "backward";
    case Pass::decode:
      break;
  }
  return "decode";
}

Pass parse_pass(const std::string& text) {
  for (const Pass pass : {Pass::forward, Pass::backward, Pass::decode}) {
    if (text == to_string(pass)) return pass;
  }
  throw std::invalid_argument("pass '" + text + "' is none: give forward, backward or decode");
}

std::string name_of(const Shape& shape) {
  std::string name = to_string(shape.pass) + '/' + to_string(shape.type);
  const auto add = [&](const char* key, std::int64_t value, std::int64_t usual) {
    if (value != usual) name += std::string("/") + key + '=' + std::to_string(value);
  };
  if (shape.pass != Pass::decode || shape.mask != "full") name += '/' + (shape.mask_name.empty() ? shape.mask : shape.mask_name);
  add("heads", shape.heads, 1);
  add("group", shape.group, 1);
  add("d", shape.head_dim, 0);
  add("v", shape.value_dims(), shape.head_dim);
  add("n", shape.keys, 0);
  add("queries", shape.query_tokens(), shape.pass == Pass::decode ? 1 : shape.keys);
  add("unit", shape.unit_tokens, 0);
  add("strips", shape.strips, 0);
  if (shape.softcap != 0) {
    std::ostringstream cap;
    cap << shape.softcap;
    name += "/softcap=" + cap.str();
  }
  if (shape.token_order) name += "/token-order";
  if (shape.alibi) name += "/alibi";
  if (shape.dropout > 0) {
    std::ostringstream probability;
    probability << shape.dropout;
    name += "/dropout=" + probability.str();
  }
  add("threads", shape.threads, 1);
  if (!shape.isa.empty()) name += "/isa=" + shape.isa;
  return name;
}

void require_valid(const Shape& shape) {
  require(shape.keys >= 1, "the number of keys", shape.keys, "give at least 1");
  require(shape.queries >= 0 && shape.queries <= shape.keys, "the number of queries", shape.queries,
          "they stand at the end of the " + std::to_string(shape.keys) + " keys and are no more");
  require(shape.head_dim >= 1, "the head dim", shape.head_dim, "give at least 1");
  require(shape.value_dim >= 0, "the value dim", shape.value_dim, "give at least 1, or 0 for the head dim");
  require(shape.group >= 1, "the group", shape.group, "give at least 1 query head per key/value head");
  require(shape.heads >= 1, "the number of heads", shape.heads, "give at least 1");
  require(shape.threads >= 1, "the number of threads", shape.threads, "give at least 1");
  if (!(shape.dropout >= 0 && shape.dropout < 1))
    throw std::invalid_argument("the dropout probability must be 0 or more, and less than 1");
  require(shape.unit_tokens >= 0, "the unit", shape.unit_tokens, "give at least 1 token, or 0 for the default rule");
  require(shape.pass != Pass::backward || shape.query_tokens() == shape.keys, "the number of queries", shape.queries,
          "the backward pass is timed with as many queries as keys");
  require(shape.pass != Pass::backward || shape.strips == 0, "strips", shape.strips, "the backward pass chooses its own");
}

}  // namespace gyre::bench
