// Deadlines on heartbeats: a peer that computes for a minute is not taken for dead, a real stall ends the job.
//
// Nothing is sent while nobody waits for long. A rank that has waited for an eighth of the deadline (at most two seconds) asks its
// peer, and again every eighth. A peer that computes answers with a new sign of its own life; a peer that waits itself answers with
// the newest sign of life that has reached it along its own chain of waiting, and passes every newer one on at once. A sign is
// numbered by its origin, and counts once: so whoever computes anywhere down the chain keeps everybody alive, in a cycle of waiting
// nobody has new signs and all age together, and a peer that is stopped ages by itself.
//
//   rank 0 waits for 1 waits for 2 computes:   0 asks 1, 1 asks 2; 2 -> 1: (2, 17), 1 -> 0: (2, 17)
//   rank 0 waits for 1 waits for 0:            0 asks 1, 1 asks 0; 1 -> 0: (1, 5), 0 -> 1: (0, 9); then nothing new
//
// When the newest sign is older than the deadline, the job is stalled. One rank alone says so: who waits for a silent peer before
// those whose peer still answers (these wait another quarter of the deadline), the lowest rank first. Who wants to speak tells all
// others, listens for a moment, and is quiet if a better witness is heard.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/signal.hpp"

namespace gyre {

class Transport;

/// Where a rank is, for messages: "stage NAME NUMBER"; a number below 0 is not said. The name must be a literal.
struct Stage {
  const char* name = "start";
  std::int64_t number = -1;
};

/// One rank's heartbeat; belongs to the thread of its transport (Transport::heartbeat). Nothing here allocates in steady state.
class Heartbeat {
 public:
  explicit Heartbeat(Transport& transport);

  static constexpr double kDefaultDeadlineSeconds = 600;
  /// 0: no deadline. Throws std::invalid_argument for what is no duration.
  void set_deadline(double seconds);
  double deadline_seconds() const { return deadline_seconds_; }

  void set_stage(Stage stage) { stage_ = stage; }

  /// The flag is raised when somebody outside ends the job (SIGTERM). Then one rank says which rank is gone, as far as can be
  /// known; the flag must outlive this object.
  void end_with(const std::atomic<bool>& ended) { ended_ = &ended; }

  /// This rank computes. Call it from the tile loop, every few milliseconds; looks for questions at most every other millisecond.
  /// Throws LostPeer when the job is ended from outside.
  void beat();
  /// Throws LostPeer if a peer of another node is known to be gone: Open MPI has a process that writes to a dead one over TCP
  /// wait for mpirun, which ends it without a word.
  void before_sending(int peer);
  /// Something that this rank waited for has arrived.
  void progressed() { progressed_ = true; }

  /// Whether this rank is the one that may say why the job ends; if so, the others have been told to be silent. Takes 50 ms.
  bool take_last_word();
  /// After it is printed. Ranks of other nodes that may be dead are told only now: Open MPI ends a process that writes to a dead
  /// one over TCP. They are those of a lost rank's node; all, when the job is ended from outside and who is lost is not known.
  void last_word_is_said();

 private:
  friend class Waiting;
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;

  void begin_wait(int peer);
  void end_wait();
  void fruitless();

  void listen(Time now);
  void handle(const Signal& signal, Time now);
  void answer(int rank, Time now);
  void learn(const Signal& sign, Time now);
  void judge(Time now);
  void judge_ending(Time now);
  bool may_speak(int urgency, Time now, std::chrono::duration<double> listening);
  enum class Audience : std::uint8_t { sound, doubtful };
  void tell_all(int urgency, Audience audience);
  bool is_mate(int rank) const;
  std::string name(int rank) const;
  std::chrono::duration<double> interval() const;
  std::string where(Time now) const;

  Transport& transport_;
  double deadline_seconds_ = kDefaultDeadlineSeconds;
  const std::atomic<bool>* ended_ = nullptr;
  Stage stage_;
  Time looked_at_;  // last listen()

  // Own life
  bool progressed_ = true;    // since the last listen()
  std::uint64_t number_ = 0;  // of own signs
  Time own_life_;             // of the last one

  // The wait that is going on
  int peer_ = -1;  // none
  Time started_;   // zero: not looked at yet
  Time last_try_;
  Time next_ask_;
  Time next_look_;  // at the peer's process
  bool peer_is_gone_ = false;
  Time heard_peer_;  // its last answer to anything
  Time alive_;       // the newest sign of life along the chain, or the start
  int origin_ = -1;  // of that sign; -1: none but the start
  std::uint64_t origin_number_ = 0;

  std::vector<std::uint64_t> newest_;  // by origin: the newest sign that has counted
  std::vector<Time> asked_;            // by rank: when it last asked

  // Last words
  Time hushed_until_;
  Time bid_at_;  // zero: no bid of ours
  int bid_urgency_ = 0;
  Time ending_since_;
};

/// A wait for one peer, from its first fruitless try to its end. The end counts as progress.
class Waiting {
 public:
  Waiting(Heartbeat& heartbeat, int peer) : heartbeat_(heartbeat) { heartbeat_.begin_wait(peer); }
  ~Waiting() { heartbeat_.end_wait(); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  /// Call it after every fruitless try; costs a look at the clock. Throws Stall, or LostPeer when the peer is known to be gone or
  /// the job is ended from outside.
  void fruitless() { heartbeat_.fruitless(); }

 private:
  Heartbeat& heartbeat_;
};

}  // namespace gyre
