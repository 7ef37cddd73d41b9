#include "launch/draw_program.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "launch/legible.hpp"
#include "launch/owner_colours.hpp"
#include "launch/svg.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

using Kind = DrawnStretch::Kind;

constexpr double kLeft = 104, kPlot = 1020, kRight = 96, kBeside = 28, kMargin = 16;
constexpr double kLargestLane = 5, kWireHeight = 14, kQueryHeight = 5;
constexpr double kDigit = 6.6;  // pixels of a character, at most
constexpr double kNarrowest = 0.5, kThinnest = 1.5;
constexpr std::size_t kMostBoxes = 12000, kMostOwners = 16, kMostWithTooltips = 4000;
constexpr const char* kPacking = "#b4b8bf";
constexpr const char* kGrey = "#666";
constexpr const char* kDefinitions =
    R"svg(
<style>.edge{stroke:#fff;stroke-width:0.6}</style>
<pattern id="waiting" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" fill="#fff"/><path d="M0 0V6" stroke="#b2b2b2" stroke-width="1.4"/></pattern>
<pattern id="queries" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(30)">
<path d="M0 0V5" stroke="#fff" stroke-width="2.2"/></pattern>
<pattern id="results" width="4" height="4" patternUnits="userSpaceOnUse"><circle cx="2" cy="2" r="1.1" fill="#fff"/></pattern>
)svg";

/// A round step of which there are four to ten in a span.
double round_step(double span) {
  const double power = std::pow(10, std::floor(std::log10(span)));
  for (const double factor : {0.1, 0.2, 0.5, 1.0})
    if (span / (factor * power) <= 10) return factor * power;
  return power;
}

std::string owners_text(const std::vector<OwnerShare>& owners) {
  if (owners.size() != 1) return plural(std::ssize(owners), "rank");
  return owners[0].owner == Placement::kEveryRank ? "every rank" : "rank " + std::to_string(owners[0].owner);
}

const char* role_text(Role role) {
  return role == Role::key_value ? "keys and values" : role == Role::query ? "queries" : "results";
}

std::string tooltip(const DrawnStretch& stretch) {
  const std::string took = ": " + seconds_text(stretch.end_seconds - stretch.begin_seconds);
  switch (stretch.kind) {
    case Kind::attend:
      return "stage " + std::to_string(stretch.stage) + ", queries of " + owners_text(stretch.query_owners) + " attend keys of " +
             owners_text(stretch.owners) + took;
    case Kind::pack:
      return "packing or joining" + took;
    case Kind::wait:
      return "waiting" + took;
    case Kind::arrive:
      return std::string(role_text(stretch.role)) + " of " + owners_text(stretch.owners) + ", sent by " +
             (stretch.from < 0 ? "several" : "rank " + std::to_string(stretch.from)) + took;
  }
  return "";
}

class Picture {
 public:
  Picture(const DrawnProgram& program, const PictureText& text) : program_(program), text_(text), colours_(program.nodes) {
    for (const DrawnRank& rank : program.ranks) {
      for (const DrawnStretch& stretch : rank.arriving) {
        lanes_ = std::max(lanes_, stretch.lane + 1);
        arriving_roles_.insert(stretch.role);
      }
      for (const DrawnStretch& stretch : rank.doing) {
        visiting_ |= visits(rank, stretch);
        mixed_ |= stretch.owners.size() > 1;
      }
    }
    bar_height_ = program.ranks.size() <= 8 ? 26 : 20;
    lane_height_ = lanes_ == 0 ? 0 : std::min(kLargestLane, kWireHeight / lanes_);
    tooltips_ = boxes() <= kMostWithTooltips;
    while (boxes() > kMostBoxes) simplify();
  }

  std::string draw() {
    heading();
    const double top = y_ += 20;
    std::vector<double> rows;
    for (std::size_t index = 0; index < program_.ranks.size(); ++index) {
      if (index > 0 && program_.ranks[index].node != program_.ranks[index - 1].node) y_ += colours_.by_node() ? 8 : 0;
      rows.push_back(y_);
      y_ += row_height() + 9;
    }
    axis(top - 6, y_ - 5);
    for (std::size_t index = 0; index < rows.size(); ++index) row(program_.ranks[index], rows[index]);
    if (colours_.by_node()) node_bars(rows);
    y_ += 12;
    legend();
    return svg_.finish(kLeft + kPlot + kRight, y_ + 6, text_.title, kDefinitions);
  }

 private:
  static bool visits(const DrawnRank& rank, const DrawnStretch& stretch) {
    return stretch.kind == Kind::attend && (stretch.query_owners.size() != 1 || stretch.query_owners[0].owner != rank.rank);
  }
  double row_height() const { return bar_height_ + (lanes_ > 0 ? 1 + lanes_ * lane_height_ : 0); }
  double pixels_per_second() const { return program_.seconds > 0 ? kPlot / program_.seconds : 0; }

  std::vector<Box> doing(const DrawnRank& rank) const {
    std::vector<const DrawnStretch*> stretches;
    for (const DrawnStretch& stretch : rank.doing) stretches.push_back(&stretch);
    return legible(stretches, pixels_per_second(), narrowest_);
  }
  std::vector<Box> arriving(const DrawnRank& rank, int lane) const {
    std::vector<const DrawnStretch*> stretches;
    for (const DrawnStretch& stretch : rank.arriving)
      if (stretch.lane == lane) stretches.push_back(&stretch);
    return legible(stretches, pixels_per_second(), narrowest_);
  }

  /// Gives up what is least missed: owners of what is on the wire, then narrow stretches, then owners of keys.
  void simplify() {
    if (wire_owners_ > 1) {
      wire_owners_ /= 2;
    } else if (narrowest_ >= 2 && most_owners_ > 1) {
      most_owners_ /= 2;
    } else {
      narrowest_ *= 2;
    }
  }

  std::vector<OwnerShare> stacked(const Box& box) const { return at_most(box.of->owners, most_owners_); }
  /// What is no wider than a few pixels has one owner to see.
  static std::vector<OwnerShare> side_by_side(const std::vector<OwnerShare>& owners, double width, std::size_t most) {
    return at_most(owners, std::min(most, static_cast<std::size_t>(std::max(1.0, width / kThinnest))));
  }

  std::size_t boxes() const {
    std::size_t count = 0;
    for (const DrawnRank& rank : program_.ranks) {
      for (const Box& box : doing(rank))
        count +=
            std::max<std::size_t>(1, stacked(box).size()) + side_by_side(box.of->query_owners, box.width(), most_owners_).size();
      for (int lane = 0; lane < lanes_; ++lane)
        for (const Box& box : arriving(rank, lane)) count += side_by_side(box.of->owners, box.width(), wire_owners_).size();
    }
    return count;
  }

  void heading() {
    svg_.text({.x = kMargin, .y = 26, .text = text_.title, .bold = true, .size = 16});
    y_ = 26;
    for (const std::string& line : text_.lines) svg_.text({.x = kMargin, .y = y_ += 18, .text = line, .colour = kGrey, .size = 12});
    y_ += 16;
  }

  void axis(double top, double bottom) {
    const double scale = program_.seconds >= 1 ? 1 : program_.seconds >= 1e-3 ? 1e3 : 1e6;
    const char* const unit = scale == 1 ? " s" : scale == 1e3 ? " ms" : " us";
    const double span = scale * program_.seconds, step = span > 0 ? round_step(span) : 1;
    for (double at = 0; at <= span * 1.0001; at += step) {
      const double x = kLeft + pixels_per_second() * at / scale;
      svg_.line(x, top, x, bottom, "#e2e2e2");
      const double shown = std::abs(at) < step / 2 ? 0 : at;
      svg_.text({.x = x, .y = top - 5, .text = number_text(shown) + unit, .anchor = SvgText::Anchor::middle, .colour = kGrey});
    }
    const double end = kLeft + kPlot;
    svg_.line(end, top, end, bottom, "#222", "stroke-dasharray=\"4 3\"");
    svg_.text({.x = end + kBeside, .y = top - 5, .text = "attends", .colour = kGrey});
  }

  void row(const DrawnRank& rank, double y) {
    svg_.open_group("class=\"rank\" id=\"rank-" + std::to_string(rank.rank) + "\"");
    const double middle = y + bar_height_ / 2 + 4;
    svg_.rectangle({kLeft - 70, middle - 9.5, 11, 11}, colours_.of(rank.rank), "rx=\"2\"");
    svg_.text({.x = kLeft - 54, .y = middle, .text = "rank " + std::to_string(rank.rank), .bold = true});
    const double share = program_.seconds > 0 ? rank.computing_seconds / program_.seconds : 0;
    svg_.text({.x = kLeft + kPlot + kBeside, .y = middle, .text = format("%.0f%%", 100 * share), .colour = kGrey});
    for (const Box& box : doing(rank)) {
      if (box.of->kind == Kind::attend) attend(rank, box, y);
      if (box.of->kind == Kind::pack) bar(box, y, bar_height_, kPacking, "pack");
      if (box.of->kind == Kind::wait) bar(box, y, bar_height_, "url(#waiting)", "wait");
    }
    for (int lane = 0; lane < lanes_; ++lane)
      for (const Box& box : arriving(rank, lane)) arrive(box, y + bar_height_ + 1 + lane * lane_height_);
    svg_.close_group();
  }

  /// What is wide enough has a tooltip and an edge to its neighbour.
  void bar(const Box& box, double y, double height, const std::string& fill, const std::string& kind) {
    const double width = box.width();
    svg_.rectangle({kLeft + box.left, y, width, height}, fill, "class=\"" + kind + (width > 3 && height > 2.5 ? " edge\"" : "\""),
                   tooltips_ && width > 5 ? tooltip(*box.of) : "");
  }

  /// Keys of several owners are stacked by what there is to do with them; so are, along the upper edge, queries that are not the
  /// rank's own, side by side.
  void attend(const DrawnRank& rank, const Box& box, double y) {
    double at = y;
    for (const OwnerShare& part : stacked(box)) {
      bar(box, at, part.share * bar_height_, colours_.of(part.owner), "attend");
      at += part.share * bar_height_;
    }
    const double width = box.width();
    const std::vector<OwnerShare>& queries = box.of->query_owners;
    const bool visitors = visits(rank, *box.of);
    if (visitors) {
      double x = kLeft + box.left;
      for (const OwnerShare& part : side_by_side(queries, width, most_owners_)) {
        svg_.rectangle({x, y, part.share * width, kQueryHeight}, colours_.of(part.owner), "class=\"queries\"");
        x += part.share * width;
      }
      svg_.line(kLeft + box.left, y + kQueryHeight, x, y + kQueryHeight, "#fff");
    }
    const bool one_visitor = visitors && queries.size() == 1;
    if (box.of->owners.size() != 1) return;
    const int owner = box.of->owners[0].owner;
    const std::string label = one_visitor ? format("q%d", queries[0].owner) : std::to_string(owner);
    const double needed = kDigit * static_cast<double>(label.size());
    if (width < 0.85 * needed + 2) return;
    svg_.text({.x = kLeft + (box.left + box.right) / 2,
               .y = y + bar_height_ / 2 + (visitors ? 6.5 : 4),
               .text = label,
               .anchor = SvgText::Anchor::middle,
               .colour = colours_.text_on(owner),
               .size = width < needed + 4 ? 9.0 : 0});
  }

  void arrive(const Box& box, double y) {
    const double height = std::max(0.5, lane_height_ - (lane_height_ > 2 ? 0.7 : 0));
    const double width = box.width();
    double at = box.left;
    for (const OwnerShare& part : side_by_side(box.of->owners, width, wire_owners_)) {
      bar({at, at + part.share * width, box.of}, y, height, colours_.of(part.owner), "arrive");
      at += part.share * width;
    }
    if (box.of->role != Role::key_value && width > 1.5)
      svg_.rectangle({kLeft + box.left, y, width, height}, box.of->role == Role::query ? "url(#queries)" : "url(#results)",
                     "pointer-events=\"none\"");
  }

  void node_bars(const std::vector<double>& rows) {
    for (std::size_t first = 0, end = 0; first < rows.size(); first = end) {
      const int node = program_.ranks[first].node;
      while (end < rows.size() && program_.ranks[end].node == node) ++end;
      const double top = rows[first], bottom = rows[end - 1] + row_height(), middle = (top + bottom) / 2;
      svg_.rectangle({kMargin + 6, top, 4, bottom - top}, colours_.of_node(node), "rx=\"2\"");
      svg_.open_group(format("transform=\"rotate(-90 %.1f %.1f)\"", kMargin + 1, middle));
      svg_.text({.x = kMargin + 1,
                 .y = middle,
                 .text = "node " + std::to_string(node),
                 .anchor = SvgText::Anchor::middle,
                 .colour = kGrey});
      svg_.close_group();
    }
  }

  /// Starts a new line where the next entry would not fit.
  void entry(double& x, const std::string& text, double swatch, const std::function<void(double x, double y)>& paint) {
    const double before = swatch > 0 ? swatch + 6 : 0, width = before + 5.8 * static_cast<double>(text.size()) + 18;
    if (x > kMargin && x + width > kLeft + kPlot + kRight - kMargin) x = kMargin, y_ += 20;
    paint(x, y_ - 10);
    svg_.text({.x = x + before, .y = y_, .text = text, .colour = "#444"});
    x += width;
  }

  void legend_of_owners() {
    double x = kMargin;
    const std::string what = "Colour: who owns the keys that are attended" + std::string(lanes_ > 0 ? ", and what arrives" : "");
    entry(x, what, 0, [](double, double) {});
    const auto swatch = [&](const std::string& colour) {
      return [this, colour](double at, double y) { svg_.rectangle({at, y, 14, 12}, colour, "rx=\"2\""); };
    };
    const auto ranks = std::ssize(program_.nodes);
    if (!colours_.by_node()) {
      for (int rank = 0; rank < std::min<std::ptrdiff_t>(ranks, 16); ++rank)
        entry(x, std::to_string(rank), 14, swatch(colours_.of(rank)));
      if (ranks > 16) entry(x, "... " + std::to_string(ranks - 1) + ", around the circle of hues", 0, [](double, double) {});
      return;
    }
    const int nodes = *std::max_element(program_.nodes.begin(), program_.nodes.end()) + 1;
    for (int node = 0; node < std::min(nodes, 16); ++node) {
      std::vector<int> members;
      for (int rank = 0; rank < ranks && members.size() < 8; ++rank)
        if (program_.nodes[static_cast<std::size_t>(rank)] == node) members.push_back(rank);
      entry(x, "node " + std::to_string(node), 7.0 * static_cast<double>(members.size()), [&](double at, double y) {
        for (const int rank : members) svg_.rectangle({at, y, 7, 12}, colours_.of(rank)), at += 7;
      });
    }
    if (nodes > 16) entry(x, "... node " + std::to_string(nodes - 1), 0, [](double, double) {});
  }

  void legend() {
    legend_of_owners();
    y_ += 20;
    double x = kMargin;
    const auto patch = [this](const std::string& fill, const std::string& over = "", double height = 12) {
      return [=, this](double at, double y) {
        svg_.rectangle({at, y + 12 - height, 22, height}, fill, "stroke=\"#999\" stroke-width=\"0.4\"");
        if (!over.empty()) svg_.rectangle({at, y + 12 - height, 22, height}, over);
      };
    };
    if (mixed_)
      entry(x, "keys of several owners: stacked, by visible pairs", 22, [this](double at, double y) {
        for (int part = 0; part < 3; ++part)
          svg_.rectangle({at, y + 4.0 * part, 22, 4}, colours_.of(part % static_cast<int>(std::ssize(program_.nodes))));
      });
    if (visiting_)
      entry(x, "upper edge: whose queries, where they are not the rank's own", 22, [this](double at, double y) {
        svg_.rectangle({at, y, 22, 12}, colours_.of(0));
        svg_.rectangle({at, y, 22, kQueryHeight}, colours_.of(std::min(1, static_cast<int>(std::ssize(program_.nodes)) - 1)));
      });
    entry(x, "packing and joining", 22, patch(kPacking));
    entry(x, "waiting for transfers", 22, patch("url(#waiting)"));
    const std::string cells = colours_.of(0);
    if (arriving_roles_.contains(Role::key_value))
      entry(x, "keys and values on the wire to the rank above", 22, patch(cells, "", 5));
    if (arriving_roles_.contains(Role::query)) entry(x, "queries on the wire", 22, patch(cells, "url(#queries)", 5));
    if (arriving_roles_.contains(Role::result) || arriving_roles_.contains(Role::partial))
      entry(x, "results on the wire", 22, patch(cells, "url(#results)", 5));
    if (program_.borrowed_bytes > 0)
      entry(x, "what ranks of one node read of each other lies in their memory: nothing travels", 0, [](double, double) {});
    const std::size_t left_out = program_.nodes.size() - program_.ranks.size();
    if (left_out > 0) {
      x = kMargin, y_ += 20;
      entry(x, format("%d more ranks are not drawn.", static_cast<int>(left_out)), 0, [](double, double) {});
    }
    if (most_owners_ < kMostOwners)
      entry(x, format("Of many owners in one box the largest are shown, %d at most.", static_cast<int>(most_owners_)), 0,
            [](double, double) {});
    if (narrowest_ > 1)
      entry(x, format("What is narrower than %g pixels is drawn with its neighbours.", narrowest_), 0, [](double, double) {});
  }

  const DrawnProgram& program_;
  const PictureText& text_;
  OwnerColours colours_;
  Svg svg_;
  double y_ = 0, bar_height_ = 0, lane_height_ = 0, narrowest_ = kNarrowest;
  int lanes_ = 0;
  std::size_t most_owners_ = kMostOwners, wire_owners_ = 4;  // in one box
  bool visiting_ = false, mixed_ = false, tooltips_ = true;
  std::set<Role> arriving_roles_;
};

}  // namespace

std::string draw_program(const DrawnProgram& program, const PictureText& text) {
  return Picture(program, text).draw();
}

}  // namespace gyre
