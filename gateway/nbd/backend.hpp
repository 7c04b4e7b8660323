#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gateway/nbd/stake.hpp"
#include "proto/disk_identity.hpp"
#include "proto/nbd/constants.hpp"
#include "proto/time.hpp"

namespace nbdgw::nbd {

class Connection;
struct Request;

/// What a client may know about an export, as of now (NBD protocol, NBD_INFO_EXPORT, _DESCRIPTION, _BLOCK_SIZE).
struct ExportInfo {
  std::string name;
  std::string description;
  /// What tells the disk behind it from others.
  proto::DiskIdentity disk;
  std::uint64_t size = 0;  // bytes
  bool read_only = false;
  bool flush = true;            // NBD_FLAG_SEND_FLUSH
  bool fua = true;              // NBD_FLAG_SEND_FUA
  bool trim = true;             // NBD_FLAG_SEND_TRIM
  bool write_zeroes = true;     // NBD_FLAG_SEND_WRITE_ZEROES
  bool rotational = false;      // NBD_FLAG_ROTATIONAL
  bool multi_conn = true;       // NBD_FLAG_CAN_MULTI_CONN
  std::uint32_t min_block = 1;  // bytes
  std::uint32_t preferred_block = 4096;
  std::uint32_t max_payload = 32 * 1024 * 1024;
};

/// A request as it came off the wire and passed validation.
struct RequestHeader {
  std::uint64_t cookie = 0;
  proto::nbd::Command command{};
  std::uint16_t flags = 0;   // proto::nbd command flags
  std::uint64_t offset = 0;  // bytes
  std::uint32_t length = 0;  // bytes
};

/// A piece of a READ's or a WRITE's payload, at most 1 MiB: what one SCSI task carries. Made and owned by the
/// backend, which derives its own type from it; the protocol engine only fills (WRITE) or sends (READ) the bytes.
struct Segment {
  std::uint64_t offset = 0;        // on the export, of the first payload byte
  std::uint32_t length = 0;        // payload bytes, > 0
  std::span<const iovec> payload;  // exactly `length` bytes of memory
  Segment* next = nullptr;         // the request's next segment, in the order of offsets
  Segment* next_done = nullptr;    // link of the protocol engine; the backend leaves it alone
};

/// Links and marks of the protocol engine in a request that it holds. The engine sets them all when it gets the
/// request from admit(); the backend leaves them alone.
struct EngineMarks {
  Request* previous = nullptr;  // all requests of the connection in flight
  Request* next = nullptr;
  Request* next_ready = nullptr;  // those with something to send
  Segment* done_first = nullptr;  // READ: segments whose data may be sent and has not been handed on yet
  Segment* done_last = nullptr;
  std::uint32_t done_bytes = 0;  // READ: data told by segment_done(), of all segments
  const char* text = nullptr;    // of an error
  proto::nbd::Error error = proto::nbd::Error::none;
  bool finished = false;   // finish() was called
  bool queued = false;     // is in the list of ready ones
  bool answering = false;  // a chunk was handed on
};

/// A request in flight. Made and owned by the backend (from its pool), held by the connection from admit() until
/// release() or abandon().
struct Request {
  RequestHeader header;
  Connection* connection = nullptr;  // null once abandoned: finish quietly
  Segment* segments = nullptr;       // READ: those there are, in order
  proto::Micros arrived_at = 0;
  EngineMarks marks;
};

/// What a connection has to be told of losses of the disk's volatile cache. It goes with the connection into another
/// process.
enum class LossStanding : std::uint8_t {
  newcomer,  // has attached after the last one: is told what those were not who have gone
  told,
  owed,  // its next FLUSH is to fail
};

/// Who attaches, as far as it has said so.
struct Attaching {
  LossStanding standing{};
  /// Of a client that makes another connection if it loses this one: it is known again by that. Empty: of no such
  /// one.
  std::string token{};
  /// It was attached before, to this process or to another one, and has lost its connection.
  bool again = false;
};

/// What the backend keeps of a connection for as long as that is attached; owned by the connection.
class Attachment {
 public:
  virtual ~Attachment() = default;
  virtual LossStanding standing() const noexcept = 0;
  /// The connection has died without a goodbye, and goes now.
  virtual void lost(proto::Micros /*now*/) noexcept {}
};

/// One export as the NBD protocol engine sees it. Implemented by the bridge. No call here re-enters the engine: what
/// a request comes to is told later, through Connection::segment_done() and Connection::finish().
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const ExportInfo& info() const noexcept = 0;

  /// A connection attaches; or goes on after a restart, with the standing that it had, when the export need not be
  /// online yet. Null: there is nothing to keep.
  virtual std::unique_ptr<Attachment> attach([[maybe_unused]] const Attaching& who) { return nullptr; }

  /// Takes in a validated request and reserves what it needs to run: a READ gets its segments with their memory, or,
  /// if `stake` says that it may be answered in pieces, some of them.
  /// nullptr: no room now; the connection stops reading and asks again with the same header when
  /// Connection::on_room() is called. `header.length` is not zero for READ, WRITE, TRIM and WRITE_ZEROES, and the
  /// range lies inside the export. `stake` is the connection's, and stays while it has requests.
  virtual Request* admit(const RequestHeader& header, Connection& connection, Stake& stake, proto::Micros now) = 0;

  /// Others wait for room that this connection may be holding.
  virtual bool others_wait(const Stake& stake) const noexcept = 0;
  /// How long a connection that holds what others wait for may owe the next move: `timeout`, or less where others had
  /// to be closed for it lately.
  virtual proto::Micros patience(proto::Micros timeout, [[maybe_unused]] proto::Micros now) const noexcept {
    return timeout;
  }
  /// One of the connections is closed for that.
  virtual void closed_for_stalling([[maybe_unused]] proto::Micros timeout, [[maybe_unused]] proto::Micros now) {}

  /// A request that has failed at once, for what it asks for: the client is told `error`, and the backend may want to
  /// know. `text` is static.
  virtual void refused([[maybe_unused]] const RequestHeader& header, [[maybe_unused]] proto::nbd::Error error,
                       [[maybe_unused]] const char* text) {}

  /// WRITE: memory for the next bytes of the payload, in order of offsets. nullptr: none now (as for admit), or the
  /// outcome is about to be told.
  virtual Segment* next_write_segment(Request& request) = 0;

  /// WRITE: all bytes of this segment are there. After the last one the request is complete on our side.
  virtual void segment_received(Request& request, Segment& segment, proto::Micros now) = 0;

  /// Every other command: begin. (A WRITE begins with its segments.)
  virtual void start(Request& request, proto::Micros now) = 0;

  /// WRITE: all of the payload that has come is in memory; else a part of it is over, and its bytes are nowhere any
  /// more.
  virtual bool has_payload([[maybe_unused]] const Request& request) const noexcept { return false; }
  /// Then: appends it, in order of offsets, with what the engine is filling.
  virtual void copy_payload([[maybe_unused]] const Request& request,
                            [[maybe_unused]] std::vector<std::uint8_t>& to) const {}

  /// READ: these bytes are sent (or will never be); the segment's memory may go, or may become another segment.
  virtual void release(Request& request, Segment& segment) = 0;

  /// The reply is sent; the request and what is left of its segments go back to the pool.
  virtual void release(Request& request) = 0;

  /// The client is gone before the request was finished, or before its reply was sent. The backend owns it now: it
  /// sets connection to null, lets tasks that run come to their end, starts no new ones, and frees the request then.
  virtual void abandon(Request& request) = 0;
};

}  // namespace nbdgw::nbd
