#include "comm/heartbeat.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <tuple>

#include "comm/error.hpp"
#include "comm/transport.hpp"

namespace gyre {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::chrono::milliseconds kBetweenLooks{2};
/// Open MPI ends a process that writes to a dead one over TCP. mpirun's SIGTERM comes a second after a death, so that whoever had
/// just begun to wait is not lost over its question, and can say what happened.
constexpr Seconds kFirstQuestion{2};
constexpr Seconds kBetweenLooksAtProcesses{0.5};
/// Without a deadline nobody is asked; what was asked is remembered for so long.
constexpr Seconds kIntervalWithoutDeadline{60};

// Longer than a signal takes between ranks that share a core; shorter together than the second that mpirun leaves between SIGTERM
// and SIGKILL.
constexpr Seconds kListenBeforeStall{0.3};
constexpr Seconds kListenBeforeEnding{0.2};
constexpr Seconds kHostsAnswer{0.31};  // as Transport::ask_hosts() says
// Of a rank that is ended and knows of nobody gone: nodes that do speak first, then one after the other.
constexpr Seconds kPatienceForWitnesses{0.35};
constexpr Seconds kPatienceForLowerNodes{0.1};
constexpr int kNodesInTime = 3;
constexpr Seconds kHush{10};
constexpr Seconds kLastWordTravels{0.05};

// Who speaks before whom.
constexpr int kDecided = -1;   // it speaks already
constexpr int kSawItGone = 0;  // a process of its own node is no more
constexpr int kSawItFromAfar = 1;
constexpr int kHostIsSilent = 2;
constexpr int kPeerIsSilent = 3;
constexpr int kPeerAnswers = 4;
constexpr int kKnowsNothing = 5;

std::string in_seconds(Seconds duration) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f seconds", duration.count());
  return text;
}

std::string in_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g seconds", seconds);
  return text;
}

template <class Time>
Time after(Time time, Seconds duration) {
  return time + std::chrono::duration_cast<typename Time::duration>(duration);
}

}  // namespace

Heartbeat::Heartbeat(Transport& transport)
    : transport_(transport), own_life_(Clock::now()), newest_(transport.ranks()), asked_(transport.ranks()) {}

void Heartbeat::set_deadline(double seconds) {
  if (!(seconds >= 0) || std::isinf(seconds)) {
    throw std::invalid_argument("a deadline of " + std::to_string(seconds) + " seconds; give more than 0, or 0 for none");
  }
  deadline_seconds_ = seconds;
}

Seconds Heartbeat::interval() const {
  return deadline_seconds_ > 0 ? Seconds(deadline_seconds_ / 8) : kIntervalWithoutDeadline;
}

void Heartbeat::beat() {
  progressed_ = true;
  const Time now = Clock::now();
  if (now - looked_at_ >= kBetweenLooks) listen(now);
}

void Heartbeat::begin_wait(int peer) {
  peer_ = peer;
  started_ = {};
  peer_is_gone_ = false;
}

void Heartbeat::end_wait() {
  peer_ = -1;
  progressed_ = true;
  if (ending_since_ == Time{}) bid_at_ = {};
}

void Heartbeat::fruitless() {
  const Time now = Clock::now();
  if (started_ == Time{}) {
    started_ = last_try_ = heard_peer_ = alive_ = now;
    origin_ = -1;
    next_ask_ = after(now, std::min(kFirstQuestion, interval()));
    next_look_ = after(now, std::min(kBetweenLooksAtProcesses, interval()));
  }
  // A rank that was stopped itself (a debugger, a suspended job) has not waited meanwhile.
  if (const auto gap = now - last_try_; gap > std::min(kFirstQuestion, interval())) {
    alive_ += gap;
    heard_peer_ += gap;
  }
  last_try_ = now;
  if (now - looked_at_ < kBetweenLooks) return;
  listen(now);
  if (ending_since_ == Time{}) judge(now);
}

void Heartbeat::listen(Time now) {
  looked_at_ = now;
  if (progressed_) {
    progressed_ = false;
    ++number_;
    own_life_ = now;
  }
  Signal signal;
  while (transport_.hear(signal)) handle(signal, now);
  if (ended_ && ended_->load(std::memory_order_relaxed)) judge_ending(now);
}

void Heartbeat::handle(const Signal& signal, Time now) {
  switch (signal.kind) {
    case Signal::Kind::ask:
      asked_[signal.from] = now;
      return answer(signal.from, now);
    case Signal::Kind::alive:
      return learn(signal, now);
    case Signal::Kind::last_word:
      if (bid_at_ != Time{} &&
          std::tie(bid_urgency_, static_cast<const std::int32_t&>(transport_.rank())) < std::tie(signal.urgency, signal.from)) {
        return;
      }
      hushed_until_ = after(now, kHush);
      bid_at_ = {};
  }
}

void Heartbeat::before_sending(int peer) {
  if (is_mate(peer) || !transport_.gone(peer)) return;
  throw LostPeer(name(peer) + " is gone: its process has ended; " + where(Clock::now()));
}

/// The newest sign of life that this rank knows: its own, or one that came along its own chain.
void Heartbeat::answer(int rank, Time now) {
  if (!is_mate(rank) && transport_.gone(rank)) return;
  Signal sign{.kind = Signal::Kind::alive, .from = transport_.rank(), .origin = transport_.rank(), .number = number_};
  Time life = own_life_;
  if (peer_ >= 0 && origin_ >= 0 && alive_ > own_life_) {
    sign.origin = origin_;
    sign.number = origin_number_;
    life = alive_;
  }
  sign.age_seconds = std::max(0.0, Seconds(now - life).count());
  transport_.tell(rank, sign);
}

void Heartbeat::learn(const Signal& sign, Time now) {
  if (sign.from != peer_) return;  // an answer to a wait that is over
  heard_peer_ = now;
  if (sign.origin == transport_.rank() || sign.number <= newest_[sign.origin]) return;
  newest_[sign.origin] = sign.number;
  const Time life = after(now, -Seconds(sign.age_seconds));
  if (life <= alive_) return;
  alive_ = life;
  origin_ = sign.origin;
  origin_number_ = sign.number;
  for (int rank = 0; rank < int(asked_.size()); ++rank) {
    if (asked_[rank] != Time{} && now - asked_[rank] < 3 * interval()) answer(rank, now);
  }
}

void Heartbeat::judge(Time now) {
  if (now >= next_look_) {
    next_look_ = after(now, std::min(kBetweenLooksAtProcesses, interval()));
    peer_is_gone_ = transport_.gone(peer_);
  }
  if (peer_is_gone_ && may_speak(is_mate(peer_) ? kSawItGone : kSawItFromAfar, now, kListenBeforeEnding)) {
    throw LostPeer(name(peer_) + " is gone: its process has ended; " + where(now));
  }
  if (peer_is_gone_) return;  // writing to it would end this process
  if (deadline_seconds_ == 0) return;
  if (now >= next_ask_) {
    next_ask_ = after(now, interval());
    transport_.tell(peer_, {.kind = Signal::Kind::ask, .from = transport_.rank()});
  }
  const bool silent = now - heard_peer_ > 2.5 * interval();
  if (now - std::max(alive_, own_life_) < Seconds(deadline_seconds_ * (silent ? 1 : 1.25))) return;
  if (!may_speak(silent ? kPeerIsSilent : kPeerAnswers, now, kListenBeforeStall)) return;
  throw Stall(where(now) + (silent ? "; " + name(peer_) + " does not answer" : "; " + name(peer_) + " answers, but nothing moves") +
              " (deadline " + in_seconds(deadline_seconds_) + ")");
}

/// Whoever ends the job from outside kills soon: there is time for a look at who is gone, and for a word.
void Heartbeat::judge_ending(Time now) {
  if (ending_since_ == Time{}) {
    ending_since_ = now;
    transport_.ask_hosts();
  }
  int lost = 0;
  while (lost < transport_.ranks() && !transport_.gone(lost)) ++lost;
  if (lost < transport_.ranks()) {
    if (may_speak(is_mate(lost) ? kSawItGone : kSawItFromAfar, now, kListenBeforeEnding)) {
      throw LostPeer(name(lost) + " is gone: its process has ended; " + where(now));
    }
    return;
  }
  if (now - ending_since_ < kHostsAnswer) return;
  for (lost = 0; lost < transport_.ranks() && !transport_.silent(lost);) ++lost;
  if (lost < transport_.ranks()) {
    if (may_speak(kHostIsSilent, now, kListenBeforeEnding)) {
      throw LostPeer(name(lost) + " is lost: its host does not answer; " + where(now));
    }
    return;
  }
  const int node = transport_.nodes().empty() ? 0 : transport_.nodes()[transport_.rank()];
  const Seconds patience = kPatienceForWitnesses + std::min(node, kNodesInTime) * kPatienceForLowerNodes;
  if (now - ending_since_ > patience && may_speak(kKnowsNothing, now, kListenBeforeEnding)) {
    throw LostPeer("the job is ended from outside (SIGTERM), but no rank of this node is gone; " + where(now));
  }
}

bool Heartbeat::may_speak(int urgency, Time now, Seconds listening) {
  if (now < hushed_until_) return false;
  if (bid_at_ == Time{}) {
    bid_at_ = now;
    bid_urgency_ = urgency;
    tell_all(urgency, Audience::sound);
  }
  return now - bid_at_ >= listening;
}

bool Heartbeat::is_mate(int rank) const {
  const auto nodes = transport_.nodes();
  return !nodes.empty() && nodes[rank] == nodes[transport_.rank()];
}

/// Not those who are gone.
void Heartbeat::tell_all(int urgency, Audience audience) {
  const auto nodes = transport_.nodes();
  std::vector<bool> gone(transport_.ranks());
  std::vector<bool> suspect(nodes.empty() ? 1 : transport_.ranks());  // by node
  bool somebody_is_lost = false;
  for (int rank = 0; rank < transport_.ranks(); ++rank) {
    gone[rank] = rank != transport_.rank() && transport_.gone(rank);
    if (!gone[rank] && !transport_.silent(rank)) continue;
    somebody_is_lost = true;
    if (!is_mate(rank) && !nodes.empty()) suspect[nodes[rank]] = true;
  }
  const bool all_are_suspect = ending_since_ != Time{} && !somebody_is_lost;
  for (int rank = 0; rank < transport_.ranks(); ++rank) {
    if (rank == transport_.rank() || gone[rank]) continue;
    const bool doubtful = !is_mate(rank) && (all_are_suspect || (!nodes.empty() && suspect[nodes[rank]]));
    if (doubtful == (audience == Audience::doubtful))
      transport_.tell(rank, {.kind = Signal::Kind::last_word, .from = transport_.rank(), .urgency = urgency});
  }
}

std::string Heartbeat::name(int rank) const {
  const std::string_view host = transport_.host(rank);
  return "rank " + std::to_string(rank) + (host.empty() ? "" : " on " + std::string(host));
}

bool Heartbeat::take_last_word() {
  const Time begin = Clock::now();
  Signal signal;
  while (transport_.hear(signal)) handle(signal, begin);
  if (begin < hushed_until_) return false;
  bid_at_ = begin;
  bid_urgency_ = kDecided;
  tell_all(kDecided, Audience::sound);
  for (Time now = begin; now - begin < kLastWordTravels; now = Clock::now()) {
    while (transport_.hear(signal)) handle(signal, now);
  }
  return bid_at_ != Time{};
}

void Heartbeat::last_word_is_said() {
  tell_all(kDecided, Audience::doubtful);
}

std::string Heartbeat::where(Time now) const {
  const std::string stage =
      std::string(", stage ") + stage_.name + (stage_.number >= 0 ? (*stage_.name ? " " : "") + std::to_string(stage_.number) : "");
  const std::string self = name(transport_.rank());
  if (peer_ < 0) return self + " computes" + stage;
  return self + " waits for " + name(peer_) + stage + ", for " + in_seconds(Seconds(now - started_));
}

}  // namespace gyre
