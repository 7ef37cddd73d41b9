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
