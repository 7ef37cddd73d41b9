#include "launch/outputs.hpp"

#include <filesystem>
#include <stdexcept>
#include <utility>
#include <vector>

#include "comm/agreement.hpp"

namespace gyre {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kReportBytes = 64 << 10;  // reserved, so that a full disk is found now; longer ones find out when written

/// `a`: behind links.
bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  if (fs::equivalent(a, b, error)) return true;
  return fs::weakly_canonical(fs::absolute(a), error) == fs::weakly_canonical(fs::absolute(behind_links(b)), error);
}

void require_different_files(const RunRequest& request) {
  using Named = std::pair<const char*, const std::string&>;
  const Named inputs[] = {
      {"--input", request.input_file}, {"--q", request.query_file},           {"--k", request.key_file},
      {"--v", request.value_file},     {"--grad-out", request.grad_out_file}, {"--sinks-logits", request.sinks_file}};
  const Named outputs[] = {{"--out", request.out_file},       {"--lse", request.lse_file},
                           {"--dq", request.grad_query_file}, {"--dk", request.grad_key_file},
                           {"--dv", request.grad_value_file}, {"--dsinks", request.grad_sinks_file},
                           {"--report", request.report_file}, {"--trace", request.trace_file}};
  std::vector<Named> taken;
  for (const Named& input : inputs)
    if (!input.second.empty()) taken.push_back(input);
  for (const std::string& file : request.mask_files) taken.push_back({"a file of --mask or --sparse", file});
  for (const std::string& file : request.layout_files) taken.push_back({"a file of --partition", file});
  for (const Named& output : outputs) {
    if (output.second.empty()) continue;
    const std::string written = behind_links(output.second);
    for (const Named& other : taken)
      if (same_file(written, other.second) || same_file(written + kPartialSuffix, other.second))
        throw std::invalid_argument(std::string(output.first) + " and " + other.first + " are the same file, " + output.second +
                                    "; give the output a name of its own");
    taken.push_back(output);
  }
}

}  // namespace

Outputs::Outputs(Transport& transport, const RunRequest& request, const Problem& problem) : query_heads_(problem.query_heads) {
  const bool creator = transport.rank() == 0;
  together(transport, [&] {
    require_different_files(request);
    if (creator) open(request, problem, true);
  });
  together(transport, [&] {
    if (!creator) open(request, problem, false);
  });
}

void Outputs::open(const RunRequest& request, const Problem& problem, bool create) {
  const std::int64_t tokens = problem.query_tokens, heads = problem.query_heads;
  if (!request.out_file.empty())
    out_.emplace(request.out_file,
                 FileContent{.name = "out", .type = request.out_type, .shape = {tokens, heads, problem.value_dim}}, create);
  const auto gradient = [&](std::optional<TensorWriter>& writer, const std::string& file, const char* name,
                            std::vector<std::int64_t> shape) {
    if (!file.empty()) writer.emplace(file, FileContent{.name = name, .shape = std::move(shape)}, create);
  };
  gradient(grad_query_, request.grad_query_file, "dq", {tokens, heads, problem.head_dim});
  gradient(grad_key_, request.grad_key_file, "dk", {problem.key_tokens, problem.key_heads, problem.head_dim});
  gradient(grad_value_, request.grad_value_file, "dv", {problem.key_tokens, problem.key_heads, problem.value_dim});
  if (create) gradient(grad_sinks_, request.grad_sinks_file, "dsinks", {heads});
  if (!request.lse_file.empty()) lse_.emplace(request.lse_file, FileContent{.name = "lse", .shape = {tokens, heads}}, create);
  if (!request.report_file.empty() && create) report_.emplace(request.report_file, kReportBytes, create);
  if (!request.trace_file.empty() && create) trace_.emplace(request.trace_file, 0, create);
}

void Outputs::write(std::span<const Range> tokens, const float* out, const float* lse) {
  if (out_) out_->write(tokens, out);
  if (lse_) lse_->write(tokens, lse);
}

void Outputs::write_gradients(std::span<const Range> query_tokens, std::span<const Range> key_tokens, const float* queries,
                              const float* keys, const float* values) {
  if (grad_query_) grad_query_->write(query_tokens, queries);
  if (grad_key_) grad_key_->write(key_tokens, keys);
  if (grad_value_) grad_value_->write(key_tokens, values);
}

void Outputs::write_sink_gradients(const float* sinks) {
  const Range heads{0, query_heads_};
  if (grad_sinks_) grad_sinks_->write({&heads, 1}, sinks);
}

void Outputs::publish() {
  for (auto* writer : {&out_, &lse_, &grad_query_, &grad_key_, &grad_value_, &grad_sinks_})
    if (*writer) (*writer)->publish();
}

void Outputs::write_report(const std::string& json) {
  if (!report_) return;
  report_->write(0, json);
  report_->cut(std::ssize(json));
  report_->publish();
}

}  // namespace gyre
