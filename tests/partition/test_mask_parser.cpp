#include "expression.hpp"
#include "partition/mask.hpp"
#include "support/catch.hpp"

using gyre::Mask;

namespace {

std::string error_of(const std::string& expression) {
  try {
    Mask::parse(expression);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("and binds tighter than or, and parentheses tighter than both") {
  CHECK(Mask::parse("causal | window(1,2) & prefix(3)").text() == "causal | window(1,2) & prefix(3)");
  CHECK(Mask::parse("(causal | window(1,2)) & prefix(3)").text() == "(causal | window(1,2)) & prefix(3)");
  const Mask loose = Mask::parse("prefix(2) | strided(3) & causal"), tight = Mask::parse("(prefix(2) | strided(3)) & causal");
  CHECK(loose.bands().visible(0, 1));
  CHECK_FALSE(tight.bands().visible(0, 1));
}

TEST_CASE("spaces may stand between any two words") {
  CHECK(Mask::parse(" \t( causal|\n window ( 3 , 4 ) )&documents(2 ,3)  ").text() == "(causal | window(3,4)) & documents(2,3)");
}

TEST_CASE("an error says the column, quotes the expression and tells what was expected") {
  struct Case {
    const char *expression, *error;
  };
  for (const Case& wrong : {
           Case{"window(4", "mask \"window(4\" column 9: expected ',' or ')'"},
           Case{"window(4,5", "mask \"window(4,5\" column 11: expected ')'"},
           Case{"window(4,5,6)", "mask \"window(4,5,6)\" column 11: expected ')'"},
           Case{"window", "mask \"window\" column 7: expected '(' after window"},
           Case{"window 4", "mask \"window 4\" column 8: expected '(' after window"},
           Case{"window()", "mask \"window()\" column 8: expected a number"},
           Case{"window(,4)", "mask \"window(,4)\" column 8: expected a number"},
           Case{"window(x)", "mask \"window(x)\" column 8: expected a number"},
           Case{"window(4.5)", "mask \"window(4.5)\" column 9: expected ',' or ')'"},
           Case{"dilated(4)", "mask \"dilated(4)\" column 10: expected ','"},
           Case{"sinks(4,", "mask \"sinks(4,\" column 8: expected ')'"},
           Case{"documents(3,", "mask \"documents(3,\" column 13: expected a number"},
           Case{"(causal", "mask \"(causal\" column 8: expected '&', '|' or ')'"},
           Case{"(causal window(3))", "mask \"(causal window(3))\" column 9: expected '&', '|' or ')'"},
           Case{"causal)", "mask \"causal)\" column 7: expected '&', '|' or the end"},
           Case{"causal causal", "mask \"causal causal\" column 8: expected '&', '|' or the end"},
           Case{"causal + full", "mask \"causal + full\" column 8: expected '&', '|' or the end"},
           Case{"full()", "mask \"full()\" column 5: expected '&', '|' or the end"},
       }) {
    CHECK(error_of(wrong.expression) == wrong.error);
  }
}

TEST_CASE("where a primitive is missing or unknown, the error lists them all") {
  for (const auto& [expression, column] :
       {std::pair{"", 1}, {"  ", 3}, {"causal &", 9}, {"causal | ", 10}, {"| causal", 1}, {"()", 2}}) {
    CHECK_THAT(error_of(expression), Catch::Contains("column " + std::to_string(column) + ": expected full, causal, window(L)"));
  }
  CHECK_THAT(error_of("causal & windw(3)"), Catch::Contains("column 10: unknown primitive 'windw': expected full, causal"));
  CHECK_THAT(error_of("Causal"), Catch::Contains("column 1: unknown primitive 'Causal'"));
}

TEST_CASE("numbers out of range are refused at their column") {
  CHECK(error_of("window(-1)") ==
        "mask \"window(-1)\" column 8: -1 is no argument of window: expected a number of at least 0 and below 2^60");
  CHECK_THAT(error_of("dilated(2, 0)"), Catch::Contains("column 12: 0 is no argument of dilated") && Catch::Contains("at least 1"));
  CHECK_THAT(error_of("strided(0)"), Catch::Contains("column 9"));
  CHECK_THAT(error_of("documents(3,0)"), Catch::Contains("column 13") && Catch::Contains("at least 1"));
  for (const char* number :
       {"1152921504606846976", "9223372036854775808", "99999999999999999999999999", "-99999999999999999999999999"}) {
    CHECK_THAT(error_of("sinks(" + std::string(number) + ")"), Catch::Contains("column 7: " + std::string(number)));
  }
  CHECK(error_of("sinks(1152921504606846975)") == "no error");
  CHECK_THAT(error_of("causal & documents(1152921504606846975,1)"),
             Catch::Contains("column 10: ") && Catch::Contains("sum of lengths"));
}

TEST_CASE("without a reader, primitives that read files are refused by name") {
  CHECK_THAT(error_of("causal & blocks(b.npy,64)"), Catch::Contains("column 10: blocks(FILE,B) reads a file"));
  CHECK_THAT(error_of("columns(c.npy)"), Catch::Contains("column 1: columns(FILE) reads a file"));
  CHECK_THAT(error_of("diagonals(c.npy,8)"), Catch::Contains("column 1: diagonals(FILE,C) reads a file"));
  CHECK_THAT(error_of("slices(c.npy)"), Catch::Contains("column 1: slices(FILE) reads a file"));
  CHECK_THAT(error_of("documents(lengths.npy)"), Catch::Contains("column 11: documents(FILE) reads a file"));
  CHECK_THAT(error_of("documents(./l.npy)"), Catch::Contains("documents(FILE) reads a file"));
  CHECK_THAT(error_of("documents()"), Catch::Contains("column 11: expected a number"));
}

TEST_CASE("a file is what stands before a comma or a parenthesis, or in quotation marks, and is read once") {
  struct Case {
    const char *expression, *file, *text;
  };
  for (const Case& c : {
           Case{"documents(lengths.npy)", "lengths.npy", "documents(lengths.npy)"},
           Case{"documents(  a/b c&d|(e.npy )", "a/b c&d|(e.npy", "documents(\"a/b c&d|(e.npy\")"},
           Case{"documents(\"3,4).npy\" )", "3,4).npy", "documents(\"3,4).npy\")"},
           Case{"documents(\" x\")", " x", "documents(\" x\")"},
           Case{"documents(\"-1\")", "-1", "documents(\"-1\")"},
       }) {
    INFO(c.expression);
    std::vector<std::string> read;
    const gyre::MaskFiles files{.lengths =
                                    [&](const std::string& path) {
                                      read.push_back(path);
                                      return std::vector<std::int64_t>{3, 4};
                                    },
                                .blocks = {},
                                .rows = {},
                                .slices = {}};
    const Mask mask = Mask::parse(std::string("causal & ") + c.expression, files);
    CHECK(read == std::vector<std::string>{c.file});
    CHECK(mask.text() == std::string("causal & ") + c.text);
    CHECK(mask.bands().all().size() == Mask::parse("causal & documents(3,4)").bands().all().size());
    CHECK(Mask::parse(mask.text(), files).text() == mask.text());
    CHECK_THROWS_WITH(mask.require_key_tokens(8), Catch::Contains("add up to 7"));
  }
}

TEST_CASE("a reader's refusal gets the file's column, and a malformed file argument is refused before anything is read") {
  const gyre::MaskFiles files{
      .lengths = [](const std::string& path) -> std::vector<std::int64_t> { throw std::invalid_argument(path + " is missing"); },
      .blocks = [](const std::string& path, std::int64_t, std::int64_t) -> gyre::BlockTable {
        throw std::invalid_argument(path + " is missing");
      },
      .rows = [](const std::string& path, std::int64_t) -> gyre::BlockTable { throw std::invalid_argument(path + " is missing"); },
      .slices = [](const std::string& path) -> std::vector<gyre::Slice> { throw std::invalid_argument(path + " is missing"); }};
  const auto error = [&](const char* expression) -> std::string {
    try {
      Mask::parse(expression, files);
    } catch (const std::invalid_argument& refusal) {
      return refusal.what();
    }
    return "no error";
  };
  CHECK(error("full | documents( a.npy)") == "mask \"full | documents( a.npy)\" column 19: a.npy is missing");
  CHECK(error("documents(\"a\n.npy\")") == "mask \"documents(\"a .npy\")\" column 11: a .npy is missing");
  CHECK(error("full | blocks( b.npy, 8)") == "mask \"full | blocks( b.npy, 8)\" column 16: b.npy is missing");
  CHECK_THAT(error("blocks(b.npy)"), Catch::Contains("column 13: expected ','"));
  CHECK_THAT(error("blocks(b.npy,0)"), Catch::Contains("column 14: 0 is no argument of blocks"));
  CHECK_THAT(error("blocks(b.npy,8,9)"), Catch::Contains("column 8: b.npy is missing"));
  CHECK_THAT(error("blocks(b.npy,8,9,1)"), Catch::Contains("column 17: expected ')'"));
  CHECK_THAT(error("blocks(b.npy,8 9)"), Catch::Contains("column 16: expected ',' or ')'"));
  CHECK_THAT(error("columns(c.npy)"), Catch::Contains("column 9: c.npy is missing"));
  CHECK_THAT(error("columns(c.npy,1)"), Catch::Contains("column 14: expected ')'"));
  CHECK_THAT(error("diagonals(d.npy,64)"), Catch::Contains("column 11: d.npy is missing"));
  CHECK_THAT(error("diagonals(d.npy)"), Catch::Contains("column 16: expected ','"));
  CHECK_THAT(error("slices(s.npy) | full"), Catch::Contains("column 8: s.npy is missing"));
  CHECK_THAT(error("blocks(,8)"), Catch::Contains("column 8: expected the name of a file"));
  CHECK_THAT(error("blocks(\"b.npy,8)"), Catch::Contains("expected '\"' after the name"));
  CHECK_THAT(error("blocks(b\"c,8)"), Catch::Contains("column 9: a quotation mark inside"));
  CHECK_THAT(error("documents(a.npy,3)"), Catch::Contains("column 16: expected ')'"));
  CHECK_THAT(error("documents(-3)"), Catch::Contains("column 11: -3 is no argument of documents"));
}

TEST_CASE("a name of a file that has to stand in quotation marks and does not is told so, and a number is not") {
  const auto error = [](const std::string& expression) { return error_of(expression); };
  for (const auto& [expression, column] : {std::pair{"documents(2024_len.npy)", 15},
                                           {"documents(2024.npy)", 15},
                                           {"documents(12-a.npy)", 13},
                                           {"documents(-len.npy)", 11},
                                           {"documents(99999999999999999999x)", 31},
                                           {"documents(a,b.npy)", 12},
                                           {"documents(3,b.npy)", 13},
                                           {"blocks(a,b.npy,64)", 10}}) {
    INFO(expression);
    CHECK_THAT(error(expression), Catch::Contains("column " + std::to_string(column) + ": expected "));
    CHECK_THAT(error(expression), Catch::Contains("stands in quotation marks: documents(\"2024.npy\")"));
  }
  for (const char* number :
       {"documents(3", "documents(3 4)", "documents(-3)", "documents()", "window(4.5)", "window(x)", "blocks(b.npy,0)"}) {
    INFO(number);
    CHECK_THAT(error(number), !Catch::Contains("quotation marks"));
  }
}

TEST_CASE("what masks refuse themselves is refused at the operator's column") {
  CHECK_THAT(error_of("documents(3,4) & causal | documents(3)"), Catch::Contains("column 25: ") && Catch::Contains("add up to 7"));
}

TEST_CASE("ten thousand parentheses are refused, a hundred are not") {
  CHECK(error_of(std::string(100, '(') + "causal" + std::string(100, ')')) == "no error");
  CHECK_THAT(error_of(std::string(10'000, '(') + "causal" + std::string(10'000, ')')),
             Catch::Contains("column 201: more than 200 nested parentheses"));
  std::string many = "(causal)";
  for (int k = 0; k < 300; ++k) many += " & (causal)";
  CHECK(error_of(many) == "no error");  // one after the other is not nested
}

TEST_CASE("an error is one line of readable length, however long and odd the expression") {
  std::string long_expression = "documents(1";
  for (int k = 0; k < 10'000; ++k) long_expression += ",1";
  CHECK(error_of(long_expression).size() < 400);
  CHECK_THAT(error_of(long_expression), Catch::Contains("column 20012: "));
  CHECK(error_of("causal\n&\x01").find_first_of("\n\x01") == std::string::npos);
  CHECK(error_of(std::string(5000, 'w')).size() < 700);
}

TEST_CASE("no string of the grammar's letters makes the parser do anything but answer or refuse") {
  static constexpr const char* kWords[] = {"full",    "causal", "window", "sinks", "documents", "dilated",
                                           "strided", "prefix", "blocks", "\"",    "(",         ")",
                                           ",",       "&",      "|",      " ",     "7",         "-"};
  std::mt19937_64 random(23);
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (std::int64_t words = gyre::test::draw(random, 0, 8); words > 0; --words) text += kWords[random() % std::size(kWords)];
    const std::string error = error_of(text);
    if (error != "no error") REQUIRE_THAT(error, Catch::StartsWith("mask \"" + text + "\" column "));
  }
}
