// Machine files: what they say, what they may leave out, and how they are refused.
#include <stdexcept>
#include <string>

#include "runtime/machine.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

const std::string kMachines = GYRE_MACHINES;

std::string refusal(const std::string& text) {
  try {
    parse_machine(text);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("without a file a machine is what its shipped file says") {
  CHECK(to_json(default_machine()) == to_json(read_machine(kMachines + "/zen4-vm.json")));
}

TEST_CASE("shipped machine files can be read, and written and read again without a change") {
  for (const char* file : {"zen4-vm", "h100-infiniband", "cpu-100gbe"}) {
    INFO(file);
    const Machine machine = read_machine(kMachines + "/" + file + ".json");
    CHECK(to_json(parse_machine(to_json(machine))) == to_json(machine));
    CHECK(machine.kernels.flops_per_second[0] > 0);
  }
  CHECK(read_machine(kMachines + "/h100-infiniband.json").links_per_node == 8);
  CHECK_FALSE(read_machine(kMachines + "/h100-infiniband.json").shares_memory);
}

TEST_CASE("a machine file replaces what it names and nothing else") {
  const Machine machine =
      parse_machine(R"({"network": {"bytes_per_second": 5e8, "latency_seconds": {"value": 1, "source": "x"}}})");
  Machine expected = default_machine();
  expected.name = "unnamed";
  expected.network.bytes_per_second = 5e8;
  expected.network.latency_seconds = 1;
  CHECK(to_json(machine) == to_json(expected));
}

TEST_CASE("a wrong machine file is refused with field, value and remedy") {
  CHECK(refusal("") == "machine: the text is not JSON; see launch/machines for examples");
  CHECK(refusal("[]") == "machine: the text is no JSON object; see launch/machines for examples");
  CHECK(refusal(R"({"network": {"speed": 1}})") ==
        "machine: there is no field 'network.speed'; launch/machines has files with all there are");
  CHECK(refusal(R"({"network": {"bytes_per_second": 0}})") ==
        "machine: network.bytes_per_second is '0'; give a number from 1 to 1e+21");
  CHECK(refusal(R"({"network": {"bytes_per_second": "fast"}})") ==
        "machine: network.bytes_per_second is 'fast'; give a number from 1 to 1e+21");
  CHECK(refusal(R"({"network": {"links_per_node": 1.5}})") == "machine: network.links_per_node is '1.5'; give a whole number");
  CHECK(refusal(R"({"network": {"links_per_node": [[1]]}})") ==
        "machine: network.links_per_node is an array; give a number from 1 to 1024");
  CHECK(refusal(R"({"node": {"latency_seconds": {"source": "x"}}})") == "machine: node.latency_seconds has no value; give one");
  CHECK(refusal(R"({"node": {"latency_seconds": {"value": 1, "unit": "s"}}})") ==
        "machine: node.latency_seconds has 'unit'; a number stands alone, or as value and source");
  CHECK(refusal(R"({"shared_memory": {"is_shared": 1}})") == "machine: shared_memory.is_shared is '1'; give true or false");
  CHECK(refusal(R"({"wires": 3})").starts_with("machine: 'wires' is no section;"));
  CHECK(refusal(std::string(100000, '[')) == "machine: the text is not JSON; see launch/machines for examples");
  CHECK_THROWS_WITH(read_machine("/nonexistent"), "machine file '/nonexistent' cannot be read; give one that can, or none");
}

namespace {

const std::string kRates = R"({"kernels": {"f16_flops_per_second": 7e9, "rates": [
    {"isa": "wide", "dtype": "f32", "head_dim": 64, "flops_per_second": {"value": 8e10, "source": "a guess"}},
    {"isa": "wide", "dtype": "f32", "head_dim": 128, "flops_per_second": 1e11, "source": "another"},
    {"isa": "narrow", "dtype": "f32", "head_dim": 96, "flops_per_second": 1e10},
    {"isa": "narrow", "dtype": "bf16", "head_dim": 64, "flops_per_second": 2e10}]}})";

std::string refused_rate(const std::string& entry) {
  return refusal(R"({"kernels": {"rates": [)" + entry + "]}}");
}

}  // namespace

TEST_CASE("a rate is that of its type and head dim, of the instruction set that stands first") {
  const KernelModel kernels = parse_machine(kRates).kernels;
  CHECK(kernels.rate(Type::f32, 64) == 8e10);
  CHECK(kernels.rate(Type::f32, 128) == 1e11);
  CHECK(kernels.rate(Type::f32, 16) == 8e10);
  CHECK(kernels.rate(Type::f32, 1000) == 1e11);
  CHECK(kernels.rate(Type::bf16, 500) == 2e10);
  CHECK(kernels.rate(Type::f16, 64) == 7e9);
  // Between them the time for a flop is a + b / dim: 7.5e-12 + 3.2e-10 / dim.
  CHECK(1 / kernels.rate(Type::f32, 80) == Approx(7.5e-12 + 3.2e-10 / 80));
}

TEST_CASE("an instruction set is chosen by name, and one that is not listed changes nothing") {
  const Machine machine = parse_machine(kRates);
  const Machine narrow = machine.with_instruction_set("narrow");
  CHECK(narrow.kernels.rate(Type::f32, 64) == 1e10);
  CHECK(narrow.kernels.rate(Type::bf16, 64) == 2e10);
  CHECK(machine.with_instruction_set("wide").kernels.rate(Type::bf16, 64) == machine.kernels.flops_per_second[1]);
  CHECK(to_json(machine.with_instruction_set("unknown")) == to_json(machine));
  CHECK(machine.with_threads(4).kernels.rate(Type::f32, 64) == 4 * 8e10);
}

TEST_CASE("rates and sources are written and read again without a change") {
  const Machine machine = parse_machine(kRates);
  CHECK(machine.kernels.rates.size() == 4);
  CHECK(to_json(parse_machine(to_json(machine))) == to_json(machine));
  const std::string text = to_json(machine, {{"kernels.rates", "from here"}, {"network.links_per_node", "counted"}, {"note", "n"}});
  CHECK(text.find(R"("source": "from here")") != std::string::npos);
  CHECK(text.find(R"("source": "counted")") != std::string::npos);
  CHECK(to_json(parse_machine(text)) == to_json(machine));
}

TEST_CASE("a wrong rate is refused with its place, value and remedy") {
  const std::string start = R"({"isa": "a", "dtype": "f32", "head_dim": 64, "flops_per_second": 1e9)";
  CHECK(refusal(R"({"kernels": {"rates": 3}})") == "machine: kernels.rates is '3'; make it a list of at most 1024 objects");
  CHECK(refused_rate("7") == "machine: kernels.rates[0] is '7'; make it an object of isa, dtype, head_dim and flops_per_second");
  CHECK(refused_rate(R"({"isa": "a", "dtype": "f32", "head_dim": 64})") ==
        "machine: kernels.rates[0] has no flops_per_second; give one");
  CHECK(refused_rate(R"({"isa": "", "dtype": "f32", "head_dim": 64, "flops_per_second": 1})") ==
        "machine: kernels.rates[0].isa is ''; name an instruction set");
  CHECK(refused_rate(R"({"isa": "a", "dtype": "f8", "head_dim": 64, "flops_per_second": 1})") ==
        "machine: kernels.rates[0].dtype is 'f8'; use f32, bf16 or f16");
  CHECK(refused_rate(R"({"isa": "a", "dtype": "f32", "head_dim": 0.5, "flops_per_second": 1})") ==
        "machine: kernels.rates[0].head_dim is '0.5'; give a number from 1 to 65536");
  CHECK(refused_rate(R"({"isa": "a", "dtype": "f32", "head_dim": 64, "flops_per_second": -1})") ==
        "machine: kernels.rates[0].flops_per_second is '-1'; give a number from 1 to 1e+21");
  CHECK(refused_rate(start + R"(, "cores": 3})").starts_with("machine: kernels.rates[0] has 'cores' of '3'; an entry has isa,"));
  CHECK(refused_rate(start + "}, " + start + "}") ==
        "machine: kernels.rates[1] is of the same isa, dtype and head_dim as entry 0; remove one");
}
