#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/time.hpp"

/// The configuration as the program uses it: plain values, complete and checked. Only config/parse.hpp makes one from
/// a file, and what a value may be is in config/nbdgw.schema.json.
namespace nbdgw::config {

/// Where the gateway listens for NBD clients: an address, or sockets that systemd listens on for it
/// (systemd.socket(5)).
struct Endpoint {
  enum class Kind : std::uint8_t { tcp, unix_socket, systemd };
  Kind kind = Kind::tcp;
  std::string host;        // tcp: a numeric address or a host name, IPv6 without its brackets
  std::uint16_t port = 0;  // tcp; 0: the system picks one
  std::string path;        // unix_socket: absolute; systemd: FileDescriptorName= of the sockets to take

  bool operator==(const Endpoint&) const = default;
};

/// A network portal of a target (RFC 7143 section 4.1).
struct Portal {
  std::string host;  // a numeric address or a host name, IPv6 without its brackets
  std::uint16_t port = 3260;

  bool operator==(const Portal&) const = default;
};

/// Where the admin server listens: http://, https://, a UNIX socket, or sockets of systemd.
struct AdminEndpoint {
  Endpoint endpoint;
  bool tls = false;  // https

  bool operator==(const AdminEndpoint&) const = default;
};

struct Listen {
  std::vector<Endpoint> nbd;         // at least one
  std::vector<AdminEndpoint> admin;  // none: there is no admin server

  bool operator==(const Listen&) const = default;
};

/// A file in PEM form: where it is, and what it held when the configuration was read.
struct PemFile {
  std::string path;
  std::string text;

  bool operator==(const PemFile&) const = default;
};

struct AdminTls {
  PemFile certificate;               // the server's, and those between it and its root
  PemFile key;                       // the text is never logged, never shown
  std::optional<PemFile> client_ca;  // clients must show a certificate that one of these has signed

  bool operator==(const AdminTls&) const = default;
};

/// Clients of the admin server at a time, on each of its addresses.
inline constexpr std::uint32_t kAdminConnections = 64;

struct Admin {
  std::string token;            // bearer token, never logged, never shown; empty: none is asked for
  std::string token_file{};     // where it was read from
  std::optional<AdminTls> tls;  // for the addresses with https

  bool operator==(const Admin&) const = default;
};

/// The bounds of what clients can make the gateway hold. None of them is ever exceeded: clients beyond
/// `connections` are turned away, and at the other limits the gateway stops reading until there is room.
struct Limits {
  std::uint32_t connections = 1024;  // NBD clients at a time, over all listeners
  proto::Micros handshake_timeout = 10 * proto::kSecond;
  std::uint32_t in_flight_per_connection = 256;  // requests
  std::uint64_t memory = 64ULL << 20;            // bytes of payload, shared out evenly among the workers
  /// A client that owes the next move and holds what others wait for is closed after this.
  proto::Micros stall_timeout = 60 * proto::kSecond;

  bool operator==(const Limits&) const = default;
};

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error };

/// How log lines are written. `automatic`: `journal` if the journal reads our standard error, else `text`.
enum class LogFormat : std::uint8_t { automatic, text, json, journal };

struct Log {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::automatic;

  bool operator==(const Log&) const = default;
};

struct Initiator {
  std::string name;  // InitiatorName: iqn., eui. or naa. (RFC 7143 section 4.2.7)

  bool operator==(const Initiator&) const = default;
};

/// What is offered for HeaderDigest or DataDigest (RFC 7143 section 13.1).
enum class Digest : std::uint8_t {
  none,           // "None": never
  prefer_crc32c,  // "CRC32C,None": if the target can
  crc32c,         // "CRC32C": a login without it fails
};

/// CHAP_A values (RFC 7143 section 12.1.3; the numbers are IANA's).
enum class ChapAlgorithm : std::uint8_t { md5 = 5, sha1 = 6, sha256 = 7, sha3_256 = 8 };

struct ChapCredentials {
  std::string user;           // CHAP_N
  std::string secret;         // never logged, never shown
  std::string secret_file{};  // where it was read from; for people only, so it makes no difference

  bool operator==(const ChapCredentials& other) const { return user == other.user && secret == other.secret; }
};

struct Chap {
  ChapCredentials credentials;            // with which the gateway proves itself to the target
  std::optional<ChapCredentials> mutual;  // with which the target must prove itself to the gateway
  /// Offered in this order; a target takes the first it knows.
  std::vector<ChapAlgorithm> algorithms{ChapAlgorithm::sha3_256, ChapAlgorithm::sha256, ChapAlgorithm::sha1,
                                        ChapAlgorithm::md5};

  bool operator==(const Chap&) const = default;
};

struct TargetTimeouts {
  proto::Micros command = 15 * proto::kSecond;  // without an answer for so long, the escalation ladder is climbed
  /// The same for those that a healthy target may be long at work on: SYNCHRONIZE CACHE, UNMAP, WRITE SAME,
  /// PRE-FETCH. `command`, if that is longer.
  proto::Micros slow_command = 90 * proto::kSecond;
  proto::Micros abort = 10 * proto::kSecond;  // its rungs: how long each may take
  proto::Micros lu_reset = 15 * proto::kSecond;
  proto::Micros target_reset = 30 * proto::kSecond;
  proto::Micros nop_interval = 5 * proto::kSecond;  // silence after which a connection is pinged; 0: never
  proto::Micros nop_timeout = 5 * proto::kSecond;   // how long the answer may take before the connection is given up
  proto::Micros login = 15 * proto::kSecond;        // TCP connect and login of one connection
  proto::Micros logout = 15 * proto::kSecond;
  proto::Micros replacement = 120 * proto::kSecond;  // how long requests are held while there is no path to a LUN

  bool operator==(const TargetTimeouts&) const = default;
};

/// What becomes of requests while there is no path to their LUN.
enum class PathLoss : std::uint8_t {
  fail,  // held for timeouts.replacement, then answered with an error
  hold,  // held for as long as it takes
};

/// What a unit attention 29/00 or 29/02 means ("power on, reset, or bus device reset occurred").
enum class PowerOnAttention : std::uint8_t {
  fail_flush,  // the volatile cache may be gone, unless a reset or login of our own explains it: FLUSH fails
               // if there were writes in it
  ignore,      // nothing: this target raises it for lesser reasons, and its cache is known to survive
  always,  // the cache may be gone, right after a reset or login of our own, too: this target raises it for nothing
           // else
};

/// What is taken for the end of writes that were under way, with all of their data sent, when a session was lost that
/// is there again.
enum class AfterReinstatement : std::uint8_t {
  reset,  // the login, and a LOGICAL UNIT RESET after it: some targets leave alone what is inside SCSI already
  trust,  // the login: this target is known to end them, or to have them done before it answers the login
};

/// The same, where the next login leads to another target portal group, that is to another controller.
enum class OtherGroup : std::uint8_t {
  prove,  // a LOGICAL UNIT RESET there, for those that were acknowledged; the others are held
  trust,  // the login: this target is known to end, in all groups, what an initiator had under way in another
};

/// What becomes of a negotiated DefaultTime2Wait, the pause between the loss of a session and the next login.
enum class Time2Wait : std::uint8_t {
  ignore,      // the next login comes at once; a pause that the target asks for when it ends a session is kept
  negotiated,  // it is kept
};

/// What comes before a command to a LUN that has answered nothing for a moment (bridge::kTrustedSilence).
enum class AfterSilence : std::uint8_t {
  look,   // it is asked which disk it is: some targets tell nobody that it has become another one
  trust,  // nothing: this target is known to tell it
};

/// One iSCSI target: one session with up to `connections` TCP connections.
struct Target {
  std::string name;               // how this file, log lines and metrics call it
  std::string iqn;                // TargetName
  std::vector<Portal> portals;    // at least one; tried in turn
  std::uint32_t connections = 4;  // MaxConnections offered; what the target grants is used
  Digest header_digest = Digest::none;
  Digest data_digest = Digest::none;
  std::optional<Chap> chap;                          // nullopt: AuthMethod None
  bool immediate_data = true;                        // ImmediateData offered
  bool initial_r2t = false;                          // InitialR2T offered
  std::uint32_t first_burst = 256 * 1024;            // FirstBurstLength offered, bytes
  std::uint32_t max_burst = 1024 * 1024;             // MaxBurstLength offered, bytes
  std::uint32_t max_recv_data_segment = 256 * 1024;  // MaxRecvDataSegmentLength declared, bytes
  std::uint32_t queue_depth = 128;                   // SCSI commands at a time to each of its LUNs
  std::uint32_t retries = 5;  // of a command that failed in a way that may pass, or that was never answered
  bool fast_abort = true;     // withhold data that the target asked for while a reset is under way
  AfterReinstatement after_reinstatement = AfterReinstatement::reset;
  OtherGroup other_group = OtherGroup::prove;
  AfterSilence after_silence = AfterSilence::look;
  Time2Wait time2wait = Time2Wait::ignore;
  PathLoss on_path_loss = PathLoss::fail;
  PowerOnAttention power_on_attention = PowerOnAttention::fail_flush;
  TargetTimeouts timeouts;

  bool operator==(const Target&) const = default;
};

/// What becomes of an export whose disk another one serves already, under another target's name.
enum class SameDisk : std::uint8_t {
  share,   // both serve it; their writes are kept apart where they live on one thread
  refuse,  // it is refused for as long
};

/// One logical unit, offered to NBD clients under a name.
struct Export {
  std::string name;
  std::string description;
  std::uint32_t target = 0;  // index into Config::targets
  std::uint16_t lun = 0;     // 0..16383
  bool read_only = false;
  bool required = true;  // the gateway is ready only while this export is online
  SameDisk same_disk = SameDisk::share;

  bool operator==(const Export&) const = default;
};

struct Config {
  Listen listen;
  Admin admin;
  Limits limits;
  std::uint32_t workers = 0;  // threads that carry data; 0: auto (see worker_count())
  Log log;
  std::string state_dir;  // of what outlives a crash of the process; empty: RUNTIME_DIRECTORY of the unit, or nothing
  Initiator initiator;
  std::vector<Target> targets;
  std::vector<Export> exports;

  bool operator==(const Config&) const = default;
};

/// Of each target, whether an export uses it.
std::vector<bool> used_targets(const Config& config);

/// How many workers to start on a machine with `cpus` processors: what the file says, or for `auto` as many as there
/// are processors, but no more than there are targets in use (a session lives on one worker) and than `limits.memory`
/// can give kMinWorkerMemory each. At least 1.
std::uint32_t worker_count(const Config& config, std::uint32_t cpus);

/// The payload memory that one worker needs: an NBD request may carry 32 MiB, and while such a one is in progress the
/// other clients of that worker must still get on.
inline constexpr std::uint64_t kMinWorkerMemory = 40ULL << 20;

}  // namespace nbdgw::config
