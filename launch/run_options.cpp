#include "launch/run_options.hpp"

#include <boost/program_options.hpp>

#include "kernels/dispatch.hpp"
#include "launch/run_request.hpp"
#include "runtime/problem.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

namespace po = boost::program_options;

class Group {
 public:
  explicit Group(const char* title) : options_(title) {}
  Group& option(const char* name, const char* value, const std::string& text) {
    options_.add_options()(name, po::value<std::string>()->value_name(value), text.c_str());
    return *this;
  }
  Group& flag(const char* name, const char* text) {
    options_.add_options()(name, text);
    return *this;
  }
  const po::options_description& options() const { return options_; }

 private:
  po::options_description options_;
};

/// "avx512, avx2 and portable".
std::string available_text() {
  std::string text;
  for (const KernelTable* kernels : available_kernels())
    text += (text.empty() ? "" : kernels == available_kernels().back() ? " and " : ", ") + std::string(kernels->name);
  return text;
}

Group input() {
  const std::string dims = limits_text(1, kLargestDim), heads = limits_text(1, kMostHeads);
  return Group("Input: one file, three files, or random tensors")
      .option("input", "FILE", ".safetensors with tensors q, k and v in F32, F16, BF16 or F64, [tokens, heads, dim]")
      .option("q", "FILE", "queries: .npy, C order, float16, float32 or float64, [tokens, heads, dim]")
      .option("k", "FILE", "keys; their heads are a divisor of the query heads")
      .option("v", "FILE", "values")
      .option("synthetic", "TOKENS",
              "normally distributed random tensors of that many tokens instead, " + limits_text(0, kMostTokens))
      .option("heads", "N", "query heads of --synthetic, " + heads + " (8)")
      .option("kv-heads", "N", "its key/value heads (as many as query heads)")
      .option("head-dim", "N", "its head dim, " + dims + " (64)")
      .option("value-dim", "N", "its value dim, " + dims + " (head dim)")
      .option("grad-out", "FILE", "gradient of the output, of its shape: then gradients are computed too")
      .option("seed", "N", "of --synthetic and of the rows that --check picks (1)");
}

Group output() {
  return Group("Output")
      .option("out", "FILE", "the result, [query tokens, heads, value dim]: .npy, or .safetensors with one tensor, out")
      .option("lse", "FILE", "natural log-sum-exp, float32, [query tokens, heads]: .npy, or .safetensors with one tensor, lse")
      .option("out-dtype", "TYPE", "of --out: f32 (default), f16, f64, and in .safetensors also bf16")
      .option("dq", "FILE", "gradient of the queries, float32, of their shape: .npy, or .safetensors with one tensor, dq")
      .option("dk", "FILE", "gradient of the keys, likewise")
      .option("dv", "FILE", "gradient of the values, likewise")
      .option("dsinks", "FILE", "gradient of the logits of --sinks-logits, float32, [query heads], likewise")
      .option("report", "FILE", "what is printed at the end, as JSON; -: on standard output, instead of the page")
      .option("trace", "FILE",
              "timeline of the last repetition, for Perfetto: compute, wait, send, receive of every rank, and as predicted")
      .option("live", "WHEN", "a line on standard error that says where the run stands: auto (on a terminal), always, never")
      .option("recall", "ROWS", "of that many rows, the share of the exact weights that the pairs of --sparse have, in float64")
      .option("check", "ROWS", "recompute that many rows in float64; exit status 1 if the error is over its bound");
}

Group attention() {
  return Group("Attention")
      .option(
          "mask", "EXPR",
          "full (default), causal, window(L[,R]), sinks(N), prefix(N), documents(n1,n2,...), documents(FILE), "
          "dilated(L,D), strided(S), blocks(FILE,B[,BK]), columns(FILE), diagonals(FILE,C), slices(FILE), joined by & and | and "
          "parentheses; a FILE whose name begins with a digit or '-', or has a comma, stands in quotation marks: "
          "'documents(\"2024.npy\")'")
      .option("sparse", "CHOICE",
              "which of the mask's pairs query heads keep, by their queries and keys: a_shape(FIRST,WINDOW), "
              "vertical_slash(COLUMNS,DIAGONALS), block_topk(BLOCKS), xattention(STRIDE,THRESHOLD), moba(BLOCK,BLOCKS), dense; or "
              "FILE.json, a list with one for each query head; with --dual-chunk vertical_slash, a_shape or dense")
      .option("query-offset", "N",
              "position of query 0 on the key axis, " + limits_text(-kMostTokens, kMostTokens) + " (key tokens minus query tokens)")
      .option("scale", "X", "of scores, before the softmax, " + limits_text(-kLargestScale, kLargestScale) + " (1/sqrt(head dim))")
      .option(
          "softcap", "X",
          "scores become X tanh(score / X), before mask and softmax, " + limits_text(kLeastSoftcap, kLargestSoftcap) + " (none)")
      .option("rope", "BASE[,LAYOUT[,DIM]]",
              "rotary positions: q and k come unrotated, and DIM channels of them (all) are rotated at global positions; pairs are "
              "half (default: k and k + DIM/2) or interleaved (2k and 2k + 1)")
      .option("yarn", "SCALE,ORIGINAL",
              "with --rope: stretched by YaRN from ORIGINAL tokens that the model was trained for, its temperature included")
      .option("rope-linear", "SCALE", "with --rope: frequencies divided by SCALE, " + limits_text(1, kLargestRotaryScale))
      .option("rope-ntk", "SCALE", "with --rope: base times SCALE^(DIM/(DIM-2))")
      .option(
          "dual-chunk", "CHUNK,LOCAL[,ORIGINAL]",
          "with --rope: dual chunk attention, chunks of CHUNK - LOCAL tokens, no two tokens taken to be farther apart than CHUNK; "
          "the mask is causal, too; ORIGINAL: scores grow with length from there on (Qwen)")
      .flag("alibi", "scores lose slope x distance, by a slope of each head's own (ALiBi)")
      .option("sinks-logits", "FILE",
              "a learned logit for each query head that joins its softmax with a value of 0: .npy, float32, [query heads]")
      .option("dropout", "P,SEED",
              "leave weights out with probability P, " + limits_text(0, kLargestDropout) +
                  ", and divide the others by 1 - P: the same ones on any number of ranks (none)")
      .option("dtype", "TYPE", "f32 (default), bf16 or f16: what is held, read and sent");
}

Group work() {
  return Group("How it is done")
      .option(
          "partition", "NAME",
          "contiguous, zigzag, zigzag_documents, striped, striped(B), balanced, layout(FILE), layout(FILE,FILE) or auto (default); "
          "FILE: .npy of integers, [chunks, 3], begin, end and rank of each; two files: of queries and of keys")
      .option("strategy", "NAME",
              "ring, bidirectional_ring, double_ring, double_ring(INNER), all_gather, ulysses, hybrid(U), pass_query, tree or auto "
              "(default)")
      .option(
          "backward", "WHAT",
          "compute gradients too (of --grad-out; of --synthetic, of a random one), while keys or queries travel with theirs, or "
          "auto (with --grad-out)")
      .option("machine", "FILE", "JSON, as of gyre plan: by which auto chooses and --trace predicts (launch/machines/zen4-vm)")
      .option("prefetch", "N",
              "stages whose cells may be arriving while one is attended, " + limits_text(1, kMostPrefetch) + " (1)")
      .option("shared-memory", "auto|off", "ranks of a node read each other's cells where they lie (auto)")
      .option("unit", "N", "tokens of a unit, " + limits_text(1, kLongestUnit) + "; it fixes the bits of the result")
      .option("ranks", "N", "ranks inside this process, without mpirun, " + limits_text(1, kMostRanksInProcess) + " (1)")
      .option("threads", "N",
              "compute threads of a rank, " + limits_text(1, kMostThreads) + " (its share of the cores it is bound to)")
      .option("device", "NAME", "cpu or auto (default)")
      .option("isa", "NAME", "instruction set; this processor has " + available_text() + " (the best)")
      .option("repeat", "N",
              "timed repetitions after a warm-up, " + limits_text(1, kMostRepetitions) + "; the report gives the median")
      .flag("against-dense", "also time the mask without --sparse, before")
      .flag("integrity", "checksums behind cells: what arrives damaged ends the job, named")
      .flag("measure-overlap", "also time the same work with communication switched off: what transfers cost")
      .option("replay", "MACHINE",
              "sleep as long as computation would take on that machine (a file, or default) and compute nothing: transfers, and "
              "times of more ranks than there are cores")
      .option("deadline", "SECONDS",
              "end the job when a rank that is waited for has given no sign of life for so long, " +
                  limits_text(0, kLongestDeadlineSeconds) + " (30); 0: never");
}

}  // namespace

po::options_description describe_run_options() {
  po::options_description all;
  for (const Group& group : {input(), output(), attention(), work(),
                             Group("Other").flag("help", "this text (also -h, or gyre help)").flag("version", "the version")})
    all.add(group.options());
  return all;
}

std::string limits_text(double least, double most) {
  return format("%.10g to %.10g", least, most);
}

}  // namespace gyre
