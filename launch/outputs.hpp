// What a run leaves behind. Every file is made before work starts, and has its name once it is whole.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "comm/transport.hpp"
#include "launch/run_request.hpp"
#include "runtime/io/tensor_writer.hpp"
#include "runtime/io/whole_file.hpp"

namespace gyre {

class Outputs {
 public:
  /// Collective: rank 0 creates the files, the others open them. Throws std::invalid_argument, the same on every rank, if one
  /// cannot be written or is an input or another output.
  Outputs(Transport& transport, const RunRequest& request, const Problem& problem);

  /// This rank's rows: out [sum of ranges, heads, value_dim], lse [sum of ranges, heads]. Local.
  void write(std::span<const Range> tokens, const float* out, const float* lse);
  /// This rank's rows of gradients, of the shapes of queries, keys and values. Local.
  void write_gradients(std::span<const Range> query_tokens, std::span<const Range> key_tokens, const float* queries,
                       const float* keys, const float* values);
  /// Those of sink logits, [query_heads], the same on every rank: rank 0 writes them. Local.
  void write_sink_gradients(const float* sinks);
  /// On rank 0, after every rank has written.
  void publish();
  /// On rank 0; null on the others, and if there is to be none. Whoever writes it publishes it.
  WholeFile* trace() { return trace_ ? &*trace_ : nullptr; }
  /// On rank 0.
  void write_report(const std::string& json);

 private:
  void open(const RunRequest& request, const Problem& problem, bool create);

  std::optional<TensorWriter> out_, lse_, grad_query_, grad_key_, grad_value_, grad_sinks_;  // the last on rank 0
  std::int64_t query_heads_;
  std::optional<WholeFile> report_, trace_;
};

}  // namespace gyre
