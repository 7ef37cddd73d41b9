// What becomes of measured figures: a machine file in which every number says where it comes from. Measuring itself is tested as a
// user meets it (command/test_calibrate.py) and between hosts (test_hosts.py).
#include <nlohmann/json.hpp>
#include <string>

#include "launch/calibrate_report.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

Calibration on_one_rank() {
  Calibration found;
  found.kernels = default_machine().kernels;
  found.kernels.rates = {{"wide", Type::f32, 64, 123456789012.0}};
  found.kernels.packing_bytes_per_second = 1234.567;
  found.kernels.attend_seconds = 1.23456e-5;
  found.host = "here", found.date = "2026-03-01", found.rounds = 5;
  return found;
}

Calibration on_two_nodes() {
  Calibration found = on_one_rank();
  const LinkFigures figures{.pairs = 1,
                            .message_bytes = 1 << 20,
                            .latency_seconds = 3e-6,
                            .one_way_bytes_per_second = 2e9,
                            .both_ways_bytes_per_second = 1e9,
                            .beside_work_bytes_per_second = 9e8,
                            .message_seconds = 4e-7,
                            .processor_seconds_per_byte = 5e-10};
  found.links.node = found.links.network = figures;
  found.links.network->processor_seconds_per_byte = 0;
  found.links.loans = LoanFigures{2e-7, 3e10, 3.1e10};
  found.links.ranks_per_node = 2;
  found.links.node_link_bytes_per_second = 1.5e9;
  return found;
}

}  // namespace

TEST_CASE("every number that calibration writes has its source") {
  for (const Calibration& found : {on_one_rank(), on_two_nodes()}) {
    const auto json = nlohmann::json::parse(machine_file(found, "m"));
    for (const auto& [section, fields] : json.items()) {
      if (!fields.is_object()) continue;
      for (const auto& [name, value] : fields.items()) {
        INFO(section << "." << name);
        if (name == "rates")
          for (const auto& rate : value) CHECK(!rate.at("source").get<std::string>().empty());
        else
          CHECK(!value.at("source").get<std::string>().empty());
      }
    }
  }
}

TEST_CASE("what was not measured is as on the assumed machine, and says so") {
  const Machine machine = machine_of(on_one_rank(), "m"), assumed = default_machine();
  CHECK(machine.node.bytes_per_second == assumed.node.bytes_per_second);
  CHECK(machine.network.latency_seconds == assumed.network.latency_seconds);
  CHECK(machine.loan_seconds == assumed.loan_seconds);
  CHECK(machine.shares_memory);
  const auto json = nlohmann::json::parse(machine_file(on_one_rank(), "m"));
  CHECK(json["network"]["latency_seconds"]["source"] == "assumed, not measured: all ranks were on one node");
  CHECK(json["node"]["bytes_per_second"]["source"] == "assumed, not measured: no node had two ranks");
}

TEST_CASE("links are both ways at once, what they take of a processor is a rate, and a node's is that of its ranks together") {
  const Machine machine = machine_of(on_two_nodes(), "m");
  CHECK(machine.node.bytes_per_second == 1e9);
  CHECK(machine.node.processor_bytes_per_second == 2e9);
  CHECK(machine.node.latency_seconds == 3e-6);
  CHECK(machine.network.processor_bytes_per_second == 0);
  CHECK(machine.network.message_seconds == 4e-7);
  CHECK(machine.link_bytes_per_second == 1.5e9);
  CHECK(machine.loan_seconds == 2e-7);
}

TEST_CASE("figures are written with four digits") {
  const Machine machine = machine_of(on_one_rank(), "m");
  CHECK(machine.kernels.rates[0].flops_per_second == 123500000000.0);
  CHECK(machine.kernels.packing_bytes_per_second == 1235);
  CHECK(machine.kernels.attend_seconds == 1.235e-5);
}

TEST_CASE("a written machine file is that machine") {
  for (const Calibration& found : {on_one_rank(), on_two_nodes()}) {
    const Machine machine = machine_of(found, "m");
    CHECK(to_json(parse_machine(machine_file(found, "m"))) == to_json(machine));
  }
}

TEST_CASE("a node without shared memory shares none") {
  Calibration found = on_two_nodes();
  found.links.loans.reset();
  found.links.unshared = "too little";
  CHECK_FALSE(machine_of(found, "m").shares_memory);
}
