#include "comm/presence.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <random>
#include <utility>

namespace gyre {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds kOfOneAddress{400};
constexpr Milliseconds kOfConnecting{1000};
constexpr Milliseconds kOfAccepting{1000};
// The kernel asks a host from which nothing has come for a second, and every second again.
constexpr int kKeepAliveSeconds = 1;
constexpr int kKeepAliveProbes = 127;  // the most there are: who is silent is for us to say
constexpr std::uint32_t kSilentMilliseconds = 3500;

constexpr char kWelcome = 'w';
constexpr char kQuestion = '?';
constexpr char kFarewell = 'f';

class Socket {
 public:
  explicit Socket(int descriptor = -1) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int get() const { return descriptor_; }
  int release() { return std::exchange(descriptor_, -1); }
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

/// Where a rank listens.
struct Card {
  std::uint64_t nonce = 0;  // an address may be that of some other machine's, or of a container's network that every host has
  std::uint16_t port = 0;   // 0: it does not listen
  std::uint32_t count = 0;
  std::array<std::uint32_t, 8> addresses{};  // IPv4, network order
};

struct Hello {
  std::uint64_t nonce = 0;
  std::int32_t rank = 0;
};

std::vector<std::uint32_t> own_addresses() {
  std::vector<std::uint32_t> addresses;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return addresses;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    if (!(one->ifa_flags & IFF_UP) || (one->ifa_flags & IFF_LOOPBACK)) continue;
    addresses.push_back(reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr.s_addr);
  }
  ::freeifaddrs(all);
  return addresses;
}

bool ready(int socket, short events, Clock::time_point until) {
  pollfd wanted{.fd = socket, .events = events, .revents = 0};
  const auto left = std::chrono::duration_cast<Milliseconds>(until - Clock::now()).count();
  return ::poll(&wanted, 1, static_cast<int>(std::max<long long>(left, 0))) == 1;
}

/// A listener on any port; the card without it, where there can be none.
Socket listen_anywhere(Card& card, std::span<const std::uint32_t> addresses, int callers) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  socklen_t size = sizeof(any);
  const auto address = reinterpret_cast<sockaddr*>(&any);
  if (!socket || ::bind(socket.get(), address, size) != 0 || ::listen(socket.get(), callers) != 0 ||
      ::getsockname(socket.get(), address, &size) != 0)
    return Socket();
  card.nonce = std::uint64_t{std::random_device()()} << 32 | std::random_device()();
  card.port = any.sin_port;
  card.count = static_cast<std::uint32_t>(std::min(addresses.size(), card.addresses.size()));
  std::copy_n(addresses.begin(), card.count, card.addresses.begin());
  return socket;
}

Socket connect_to(std::uint32_t host, std::uint16_t port, Clock::time_point until) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = port;
  peer.sin_addr.s_addr = host;
  if (!socket) return socket;
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) == 0) return socket;
  int error = errno;
  socklen_t size = sizeof(error);
  if (error != EINPROGRESS || !ready(socket.get(), POLLOUT, until) ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
    return Socket();
  return socket;
}

/// To the first of its addresses that answers and is not our own; it has our hello then.
Socket call(const Card& card, int rank, std::span<const std::uint32_t> own) {
  const auto until = Clock::now() + kOfConnecting;
  for (std::uint32_t index = 0; index < card.count && card.port != 0 && Clock::now() < until; ++index) {
    if (std::find(own.begin(), own.end(), card.addresses[index]) != own.end()) continue;
    Socket socket = connect_to(card.addresses[index], card.port, std::min(until, Clock::now() + kOfOneAddress));
    const Hello hello{.nonce = card.nonce, .rank = rank};
    if (socket && ::send(socket.get(), &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello)) return socket;
  }
  return Socket();
}

void stay_alive(int socket) {
  const int on = 1, seconds = kKeepAliveSeconds, probes = kKeepAliveProbes;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

int watcher_of(std::span<const int> nodes, int rank) {
  const int ranks = static_cast<int>(nodes.size());
  for (int step = 1; step < ranks; ++step) {
    if (const int other = (rank + step) % ranks; nodes[other] != nodes[rank]) return other;
  }
  return -1;
}

Presence::Presence(Transport& transport, std::span<const int> nodes) {
  const int rank = transport.rank(), ranks = transport.ranks();
  if (watcher_of(nodes, rank) < 0) return;
  std::vector<int> watched;
  for (int other = 0; other < ranks; ++other)
    if (watcher_of(nodes, other) == rank) watched.push_back(other);

  const std::vector<std::uint32_t> addresses = own_addresses();
  Card mine;
  Socket listener;
  if (!watched.empty()) listener = listen_anywhere(mine, addresses, static_cast<int>(watched.size()) + 8);
  std::vector<Card> cards(ranks);
  all_gather_value(transport, mine, std::span(cards));
  Socket to_watcher = call(cards[watcher_of(nodes, rank)], rank, addresses);

  std::vector<std::uint8_t> called(ranks);  // whose hello is on its way
  all_gather_value(transport, static_cast<std::uint8_t>(static_cast<bool>(to_watcher)), std::span(called));
  auto expected = std::count_if(watched.begin(), watched.end(), [&](int other) { return called[other] != 0; });
  const auto until = Clock::now() + kOfAccepting;
  while (expected > 0 && ready(listener.get(), POLLIN, until)) {
    Socket caller(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    Hello hello;
    if (!caller || !ready(caller.get(), POLLIN, until) || ::recv(caller.get(), &hello, sizeof(hello), 0) != sizeof(hello)) continue;
    if (hello.nonce != mine.nonce || std::find(watched.begin(), watched.end(), hello.rank) == watched.end()) continue;
    static_cast<void>(::send(caller.get(), &kWelcome, 1, MSG_NOSIGNAL));
    keep(hello.rank, caller.release());
    --expected;
  }
  char welcome = 0;
  if (to_watcher && ready(to_watcher.get(), POLLIN, Clock::now() + kOfAccepting) && ::recv(to_watcher.get(), &welcome, 1, 0) == 1 &&
      welcome == kWelcome)
    keep(watcher_of(nodes, rank), to_watcher.release());
}

Presence::Presence(Presence&& other) noexcept : links_(std::exchange(other.links_, {})) {}

Presence& Presence::operator=(Presence&& other) noexcept {
  std::swap(links_, other.links_);
  return *this;
}

Presence::~Presence() {
  for (const Link& link : links_) {
    static_cast<void>(::send(link.socket, &kFarewell, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
    ::close(link.socket);
  }
}

void Presence::keep(int rank, int socket) {
  stay_alive(socket);
  links_.push_back({.rank = rank, .socket = socket});
}

Presence::Sign Presence::look(int rank) {
  Sign sign = Sign::unknown;
  for (Link& link : links_) {  // two ranks may watch each other, over a connection each
    if (link.rank == rank) sign = std::max(sign, look(link));
  }
  return sign;
}

Presence::Sign Presence::look(Link& link) {
  if (link.last == Sign::ended || link.last == Sign::unknown) return link.last;
  char heard = 0;
  ssize_t size = 0;
  while ((size = ::recv(link.socket, &heard, 1, MSG_DONTWAIT)) > 0) {
    if (heard == kFarewell) return link.last = Sign::unknown;
  }
  if (size == 0 || errno == ECONNRESET || errno == EPIPE) return link.last = Sign::ended;
  if (errno != EAGAIN && errno != EWOULDBLOCK) return link.last = Sign::silent;  // ETIMEDOUT, EHOSTUNREACH

  tcp_info info{};
  socklen_t length = sizeof(info);
  if (::getsockopt(link.socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return link.last;
  const bool unanswered = link.asked != Clock::time_point{} && info.tcpi_unacked > 0 &&
                          std::chrono::duration<double>(Clock::now() - link.asked).count() > kAnswerSeconds;
  return link.last = unanswered || info.tcpi_last_ack_recv > kSilentMilliseconds ? Sign::silent : Sign::there;
}

void Presence::ask() {
  for (Link& link : links_) {
    if (look(link) != Sign::there) continue;
    link.asked = Clock::now();
    static_cast<void>(::send(link.socket, &kQuestion, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
  }
}

}  // namespace gyre
