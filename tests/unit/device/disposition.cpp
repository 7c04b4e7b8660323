#include "gateway/device/disposition.hpp"

#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "tests/unit/device/fake_unit.hpp"

using namespace nbdgw::device;
using namespace device_test;
using initiator::Outcome;
using initiator::ScsiCommand;
using scsi::SenseKey;

namespace {

constexpr CommandKind kKinds[] = {CommandKind::read,  CommandKind::write,      CommandKind::flush,
                                  CommandKind::unmap, CommandKind::write_same, CommandKind::other};

ScsiCommand with_sense(SenseKey key, std::uint8_t asc, std::uint8_t ascq, bool deferred = false) {
  ScsiCommand command;
  check_condition(command, key, {asc, ascq}, deferred);
  command.data_length = command.transferred = 4096;
  command.residual_underflow = 0;
  return command;
}

ScsiCommand with_status(std::uint8_t value) {
  ScsiCommand command;
  command.outcome = Outcome::completed;
  command.status = value;
  command.data_length = command.transferred = 4096;
  return command;
}

ScsiCommand with_outcome(Outcome outcome) {
  ScsiCommand command;
  command.outcome = outcome;
  return command;
}

Disposition first(const ScsiCommand& command, CommandKind kind) {
  Attempts attempts;
  return decide(command, kind, attempts);
}

bool same(const Notes& a, const Notes& b) {
  return a.unit_attention == b.unit_attention && a.cache_may_be_lost == b.cache_may_be_lost &&
         a.power_on == b.power_on && a.capacity_changed == b.capacity_changed && a.facts_changed == b.facts_changed &&
         a.identity_in_doubt == b.identity_in_doubt && a.inventory_changed == b.inventory_changed &&
         a.not_ready == b.not_ready && a.threshold_reached == b.threshold_reached && a.queue_full == b.queue_full;
}

/// Decides again and again about the same answer; the delays that were asked for, until it is given up.
std::vector<nbdgw::proto::Micros> until_given_up(const ScsiCommand& command, Error expected) {
  Attempts attempts;
  std::vector<nbdgw::proto::Micros> delays;
  for (int i = 0; i < 1000; ++i) {
    const Disposition disposition = decide(command, CommandKind::write, attempts);
    if (disposition.action == Action::error) {
      CHECK(disposition.error == expected);
      return delays;
    }
    REQUIRE((disposition.action == Action::retry_now || disposition.action == Action::retry_later));
    delays.push_back(disposition.delay);
  }
  FAIL("never given up");
  return delays;
}

}  // namespace

TEST_CASE("disposition: every row of the sense table") {
  struct Row {
    SenseKey key;
    std::uint8_t asc, ascq;
    Action action;
    Error read, write, other;  // for a read, a write, and what has another way (other)
    Notes notes = {};
  };
  const Notes ua{.unit_attention = true};
  const auto attention = [&](Notes notes) { return notes |= ua; };
  const Notes lost = attention({.cache_may_be_lost = true, .identity_in_doubt = true});
  const Notes power_on = attention({.power_on = true, .identity_in_doubt = true});
  const Notes doubt = attention({.identity_in_doubt = true});
  const Notes facts = attention({.facts_changed = true});
  constexpr Error kNone = Error::none;
  constexpr Error kIo = Error::io;
  constexpr Error kOther = Error::unsupported;
  std::vector<Row> rows = {
      {SenseKey::no_sense, 0, 0, Action::retry_now, kNone, kNone, kNone},
      {SenseKey::recovered_error, 0x17, 0x01, Action::done, kNone, kNone, kNone},
      {SenseKey::not_ready, 0x3a, 0x00, Action::error, kIo, kIo, kIo},
      {SenseKey::medium_error, 0x11, 0x00, Action::error, kIo, kIo, kIo},
      {SenseKey::medium_error, 0x0c, 0x02, Action::error, kIo, kIo, kIo},
      {SenseKey::hardware_error, 0x44, 0x00, Action::error, kIo, kIo, kIo},
      {SenseKey::illegal_request, 0x1a, 0x00, Action::error, kOther, kOther, kOther},
      {SenseKey::illegal_request, 0x20, 0x00, Action::error, kOther, kOther, kOther},
      {SenseKey::illegal_request, 0x24, 0x00, Action::error, kOther, kOther, kOther},
      {SenseKey::illegal_request, 0x26, 0x00, Action::error, kOther, kOther, kOther},
      {SenseKey::illegal_request,
       0x21,
       0x00,
       Action::error,
       Error::invalid,
       Error::no_space,
       Error::invalid,
       {.capacity_changed = true}},
      {SenseKey::illegal_request, 0x49, 0x00, Action::error, kIo, kIo, kIo},
      {SenseKey::unit_attention, 0x28, 0x00, Action::retry_now, kNone, kNone, kNone, doubt},
      {SenseKey::unit_attention, 0x29, 0x00, Action::retry_now, kNone, kNone, kNone, power_on},
      {SenseKey::unit_attention, 0x29, 0x01, Action::retry_now, kNone, kNone, kNone, lost},
      {SenseKey::unit_attention, 0x29, 0x02, Action::retry_now, kNone, kNone, kNone, power_on},
      {SenseKey::unit_attention, 0x29, 0x03, Action::retry_now, kNone, kNone, kNone, doubt},
      {SenseKey::unit_attention, 0x29, 0x04, Action::retry_now, kNone, kNone, kNone, lost},
      {SenseKey::unit_attention, 0x29, 0x07, Action::retry_now, kNone, kNone, kNone, doubt},
      {SenseKey::unit_attention, 0x2a, 0x01, Action::retry_now, kNone, kNone, kNone, facts},
      {SenseKey::unit_attention, 0x2a, 0x06, Action::retry_now, kNone, kNone, kNone, ua},
      {SenseKey::unit_attention, 0x2a, 0x09, Action::retry_now, kNone, kNone, kNone,
       attention({.capacity_changed = true})},
      {SenseKey::unit_attention, 0x2f, 0x00, Action::retry_now, kNone, kNone, kNone, ua},
      {SenseKey::unit_attention, 0x38, 0x07, Action::retry_now, kNone, kNone, kNone,
       attention({.threshold_reached = true})},
      {SenseKey::unit_attention, 0x3f, 0x01, Action::retry_now, kNone, kNone, kNone, facts},
      {SenseKey::unit_attention, 0x3f, 0x02, Action::retry_now, kNone, kNone, kNone, facts},
      {SenseKey::unit_attention, 0x3f, 0x03, Action::retry_now, kNone, kNone, kNone, doubt},
      {SenseKey::unit_attention, 0x3f, 0x05, Action::retry_now, kNone, kNone, kNone, doubt},
      {SenseKey::unit_attention, 0x3f, 0x0e, Action::retry_now, kNone, kNone, kNone,
       attention({.identity_in_doubt = true, .inventory_changed = true})},
      {SenseKey::unit_attention, 0x99, 0x99, Action::retry_now, kNone, kNone, kNone, ua},
      {SenseKey::data_protect, 0x27, 0x07, Action::error, kIo, Error::no_space, Error::no_space},
      {SenseKey::data_protect, 0x27, 0x00, Action::error, Error::not_permitted, Error::not_permitted,
       Error::not_permitted},
      {SenseKey::data_protect, 0x20, 0x02, Action::error, Error::not_permitted, Error::not_permitted,
       Error::not_permitted},
      {SenseKey::aborted_command, 0x4b, 0x00, Action::retry_now, kNone, kNone, kNone},
      {SenseKey::volume_overflow, 0x00, 0x00, Action::error, kIo, Error::no_space, Error::no_space},
      {SenseKey::blank_check, 0, 0, Action::error, kIo, kIo, kIo},
      {SenseKey::vendor_specific, 0, 0, Action::error, kIo, kIo, kIo},
      {SenseKey::copy_aborted, 0, 0, Action::error, kIo, kIo, kIo},
      {SenseKey::miscompare, 0x1d, 0, Action::error, kIo, kIo, kIo},
      {SenseKey::completed, 0, 0, Action::error, kIo, kIo, kIo},
  };
  for (const int ascq : {0x00, 0x01, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x14, 0x1a, 0x1b, 0x1d, 0x24}) {
    rows.push_back({SenseKey::not_ready,
                    0x04,
                    static_cast<std::uint8_t>(ascq),
                    Action::retry_later,
                    kNone,
                    kNone,
                    kNone,
                    {.not_ready = true}});
  }
  for (const Row& row : rows) {
    ScsiCommand command = with_sense(row.key, row.asc, row.ascq);
    command.residual_underflow = 0;
    CAPTURE(explain(command));
    for (const CommandKind kind : kKinds) {
      CAPTURE(static_cast<int>(kind));
      const Disposition disposition = first(command, kind);
      CHECK(disposition.action == row.action);
      CHECK(same(disposition.notes, row.notes));
      if (kind == CommandKind::read) CHECK(disposition.error == row.read);
      if (kind == CommandKind::write) CHECK(disposition.error == row.write);
      if (kind == CommandKind::other || kind == CommandKind::flush || kind == CommandKind::unmap)
        CHECK(disposition.error == row.other);
      const bool out_of_range = row.key == SenseKey::illegal_request && row.asc == 0x21;
      if (kind == CommandKind::write_same) CHECK(disposition.error == (out_of_range ? Error::no_space : row.other));
      CHECK((disposition.delay > 0) == (row.action == Action::retry_later));
    }
  }
}

TEST_CASE(
    "disposition: a unit that is not ready is waited for, about as long as a session; a probe is told at once") {
  for (const int asc : {0x04, 0x68}) {
    for (const int ascq : {0x02, 0x03, 0x0b, 0x0c, 0x12, 0x22, 0xff}) {
      const ScsiCommand command =
          with_sense(SenseKey::not_ready, static_cast<std::uint8_t>(asc), static_cast<std::uint8_t>(ascq));
      for (const CommandKind kind : kKinds) {
        const Disposition disposition = first(command, kind);
        CHECK(disposition.action == (kind == CommandKind::other ? Action::error : Action::retry_later));
      }
      const std::vector<nbdgw::proto::Micros> delays = until_given_up(command, Error::io);
      CHECK(delays.size() == kMaxWaits);
      CHECK(std::accumulate(delays.begin(), delays.end(), nbdgw::proto::Micros{0}) > 110 * nbdgw::proto::kSecond);
    }
  }
}

TEST_CASE("disposition: a unit that is not there is waited for, but not without end; a probe is told at once") {
  for (const std::uint8_t ascq : std::initializer_list<std::uint8_t>{0x00, 0x01}) {
    const ScsiCommand command = with_sense(SenseKey::illegal_request, 0x25, ascq);
    for (const CommandKind kind : kKinds) {
      const Disposition disposition = first(command, kind);
      CHECK(disposition.action == (kind == CommandKind::other ? Action::error : Action::retry_now));
      CHECK(same(disposition.notes, {.identity_in_doubt = true}));
    }
    CHECK(until_given_up(command, Error::io).size() == kMaxUnitAttentions);
  }
}

TEST_CASE("disposition: the sense table in descriptor format too") {
  ScsiCommand command = with_status(0x02);
  const scsi::Sense full{SenseKey::data_protect, 0x27, 0x07, false, {}};
  command.sense_length = static_cast<std::uint8_t>(scsi::build_descriptor_sense(full, command.sense));
  CHECK(first(command, CommandKind::write).error == Error::no_space);
}

TEST_CASE("disposition: every status") {
  for (unsigned value = 0; value < 256; ++value) {
    CAPTURE(value);
    for (const CommandKind kind : kKinds) {
      const bool moves_data = kind == CommandKind::read || kind == CommandKind::write;
      const Disposition disposition = first(with_status(static_cast<std::uint8_t>(value)), kind);
      Action expected = Action::retry_now;  // unknown status, TASK ABORTED, or CHECK CONDITION without sense
      Notes notes;
      if (value == 0x00 || (value == 0x04 && !moves_data)) expected = Action::done;
      if (value == 0x08 || value == 0x28) notes.queue_full = true;
      if (value == 0x08 || value == 0x28 || value == 0x30) expected = Action::retry_later;
      if (value == 0x18) expected = Action::error;
      CHECK(disposition.action == expected);
      CHECK(disposition.error == (value == 0x18 ? Error::not_permitted : Error::none));
      CHECK(same(disposition.notes, notes));
    }
  }
}

TEST_CASE("disposition: GOOD with sense attached is good (tgtd)") {
  ScsiCommand command = with_sense(SenseKey::illegal_request, 0x25, 0x00);
  command.status = 0;
  command.residual_underflow = 0;
  for (const CommandKind kind : kKinds) {
    CHECK(first(command, kind).action == Action::done);
    CHECK(!first(command, kind).notes.any());
  }
}

TEST_CASE("disposition: every status, whole and short, of every kind: nothing is done that has not moved") {
  for (unsigned value = 0; value < 256; ++value) {
    for (const CommandKind kind : kKinds) {
      for (const std::uint32_t moved : {0U, 1U, 512U, 4095U, 4096U}) {
        for (const bool told : {false, true}) {
          CAPTURE(value);
          CAPTURE(static_cast<int>(kind));
          CAPTURE(moved);
          ScsiCommand command = value == 0x02 ? with_sense(SenseKey::recovered_error, 0x17, 0)
                                              : with_status(static_cast<std::uint8_t>(value));
          command.transferred = moved;
          command.residual_underflow = told ? 4096 - moved : 0;
          const bool counts = kind != CommandKind::flush && kind != CommandKind::other;
          const bool moves_data = kind == CommandKind::read || kind == CommandKind::write;
          const bool ends_well = value == 0x00 || value == 0x02 || (value == 0x04 && !moves_data);
          const Disposition disposition = first(command, kind);
          CHECK((disposition.action == Action::done) == (ends_well && (!counts || moved == 4096)));
          CHECK(disposition.short_transfer == (ends_well && counts && moved != 4096));
          CHECK(disposition.moved == (disposition.short_transfer && moves_data && told ? moved : 0));
          CHECK(went_well(command) == (value == 0 && moved == 4096));
          if (went_well(command)) CHECK((disposition.action == Action::done && !disposition.notes.any()));
          if (!disposition.short_transfer) continue;
          CHECK(disposition.action == Action::retry_now);
          CHECK(until_given_up(command, Error::io).size() == kDefaultRetries);
        }
      }
    }
  }
}

TEST_CASE("disposition: only a shortfall that both sides count alike leaves a remainder") {
  ScsiCommand command = with_status(0);
  const auto moved = [&](CommandKind kind, std::uint32_t transferred, std::uint32_t under, std::uint32_t over = 0) {
    command.transferred = transferred;
    command.residual_underflow = under;
    command.residual_overflow = over;
    const Disposition disposition = first(command, kind);
    CHECK(disposition.short_transfer);
    return disposition.moved;
  };
  CHECK(moved(CommandKind::read, 1024, 3072) == 1024);
  CHECK(moved(CommandKind::read, 1024, 3071) == 0);
  CHECK(moved(CommandKind::read, 4096, 3072) == 0);  // all came, and it says that some did not
  CHECK(moved(CommandKind::read, 1024, 0) == 0);
  CHECK(moved(CommandKind::read, 0, 4096) == 0);
  CHECK(moved(CommandKind::read, 0, 0xffffffff) == 0);
  CHECK(moved(CommandKind::write, 1024, 3072) == 1024);
  CHECK(moved(CommandKind::write, 4096, 3072) == 1024);  // sent unasked, not taken
  CHECK(moved(CommandKind::write, 512, 3072) == 0);      // it cannot have taken what was not sent
  CHECK(moved(CommandKind::write, 1024, 0) == 0);
  for (const CommandKind kind : {CommandKind::read, CommandKind::write}) CHECK(moved(kind, 4096, 0, 1) == 0);
  for (const CommandKind kind : {CommandKind::write_same, CommandKind::unmap}) CHECK(moved(kind, 0, 4096) == 0);
}

TEST_CASE("disposition: a short or overlong READ or WRITE is never done") {
  for (const CommandKind kind : kKinds) {
    const bool moves_data = kind == CommandKind::read || kind == CommandKind::write;
    // Of a parameter all must have been sent; what else is said of it is none of ours.
    ScsiCommand unsent = with_status(0);
    unsent.transferred = unsent.data_length - 1;
    const bool parameter = kind == CommandKind::write_same || kind == CommandKind::unmap;
    CHECK((first(unsent, kind).action != Action::done) == (moves_data || parameter));
    for (const std::uint32_t residual : {1U, 512U, 4096U, 0xffffffffU}) {
      for (const bool recovered : {false, true}) {
        for (const bool over : {false, true}) {
          ScsiCommand command = recovered ? with_sense(SenseKey::recovered_error, 0x17, 0) : with_status(0);
          command.residual_underflow = over ? 0 : residual;
          command.residual_overflow = over ? residual : 0;
          CHECK((first(command, kind).action != Action::done) == moves_data);
          if (moves_data) CHECK(until_given_up(command, Error::io).size() == kDefaultRetries);
        }
      }
    }
  }
}

TEST_CASE("disposition: outcomes without an answer") {
  for (const CommandKind kind : kKinds) {
    CHECK(first(with_outcome(Outcome::transport_disrupted), kind).action == Action::hold);
    CHECK(first(with_outcome(Outcome::recalled), kind).action == Action::hold);
    CHECK(first(with_outcome(Outcome::bad_target), kind).action == Action::retry_now);
    CHECK(first(with_outcome(Outcome::path_lost), kind).action == Action::error);
    CHECK(first(with_outcome(Outcome::path_lost), kind).error == Error::io);
  }
  // Neither a lost session nor a reset uses up the attempts of those who only suffer from it.
  Attempts attempts;
  for (int i = 0; i < 1000; ++i) {
    CHECK(decide(with_outcome(Outcome::transport_disrupted), CommandKind::write, attempts).action == Action::hold);
    CHECK(decide(with_outcome(Outcome::aborted), CommandKind::write, attempts).action == Action::retry_now);
  }
  CHECK(attempts.errors == 0);
  CHECK(attempts.waits == 0);
  CHECK(attempts.unit_attentions == 0);
}

TEST_CASE("disposition: an overdue command has as many retries as it is given, whichever rung ended it") {
  for (const std::uint8_t retries : std::initializer_list<std::uint8_t>{1, 5, 100}) {
    CAPTURE(static_cast<int>(retries));
    for (const bool mixed : {false, true}) {
      for (const Outcome last : {Outcome::aborted, Outcome::transport_disrupted}) {
        Attempts attempts;
        for (int i = 0; i < retries; ++i) {
          ScsiCommand command = with_outcome(mixed && i % 2 == 0 ? Outcome::aborted : last);
          command.overdue = true;
          const Disposition disposition = decide(command, CommandKind::write, attempts, retries);
          if (command.outcome == Outcome::transport_disrupted) {
            CHECK(disposition.action == Action::hold);  // the login is pause enough
          } else {
            CHECK(disposition.action == (i == 0 ? Action::retry_now : Action::retry_later));
            CHECK(disposition.delay == wait_before_error_retry(static_cast<std::uint8_t>(i)));
          }
        }
        ScsiCommand command = with_outcome(last);
        command.overdue = true;
        const Disposition disposition = decide(command, CommandKind::write, attempts, retries);
        CHECK(disposition.action == Action::error);
        CHECK(disposition.error == Error::io);
        // What others cause goes on not to count.
        CHECK(decide(with_outcome(last), CommandKind::write, attempts, retries).action != Action::error);
      }
    }
  }
}

TEST_CASE("disposition: unit attentions that are expected do not count") {
  Attempts attempts;
  attempts.attentions_expected = true;
  const ScsiCommand attention = with_sense(SenseKey::unit_attention, 0x29, 0x00);
  for (int i = 0; i < 1000; ++i) {
    const Disposition disposition = decide(attention, CommandKind::read, attempts);
    REQUIRE(disposition.action == Action::retry_now);
    REQUIRE(disposition.notes.unit_attention);
    REQUIRE(disposition.notes.power_on);
  }
  CHECK(attempts.unit_attentions == 0);
  attempts.attentions_expected = false;
  for (int i = 0; i < kMaxUnitAttentions; ++i) {
    CHECK(decide(attention, CommandKind::read, attempts).action == Action::retry_now);
  }
  CHECK(decide(attention, CommandKind::read, attempts).action == Action::error);
}

TEST_CASE("disposition: deferred errors are about an earlier write") {
  for (const SenseKey key : {SenseKey::medium_error, SenseKey::hardware_error, SenseKey::data_protect,
                             SenseKey::aborted_command, SenseKey::illegal_request}) {
    const Disposition disposition = first(with_sense(key, 0x0c, 0, true), CommandKind::read);
    CHECK(disposition.action == Action::retry_now);
    CHECK(disposition.notes.cache_may_be_lost);
  }
  const Disposition harmless = first(with_sense(SenseKey::recovered_error, 0x17, 0, true), CommandKind::read);
  CHECK(harmless.action == Action::retry_now);
  CHECK(!harmless.notes.cache_may_be_lost);
  const Disposition attention = first(with_sense(SenseKey::unit_attention, 0x2a, 0x09, true), CommandKind::read);
  CHECK(attention.notes.capacity_changed);
  CHECK(!attention.notes.cache_may_be_lost);
}

TEST_CASE("disposition: every kind of retry has its end") {
  const auto errors = until_given_up(with_sense(SenseKey::aborted_command, 0, 0), Error::io);
  REQUIRE(errors.size() == kDefaultRetries);
  CHECK(errors[0] == 0);
  for (std::size_t i = 1; i < errors.size(); ++i) CHECK(errors[i] == kFirstWait << (i - 1));

  const auto attentions = until_given_up(with_sense(SenseKey::unit_attention, 0x29, 0), Error::io);
  CHECK(attentions.size() == kMaxUnitAttentions);

  const auto waits = until_given_up(with_status(0x08), Error::io);
  REQUIRE(waits.size() == kMaxWaits);
  nbdgw::proto::Micros total = 0;
  for (std::size_t i = 0; i < waits.size(); ++i) {
    if (i > 0) CHECK(waits[i] == std::min(waits[i - 1] * 2, kLongestWait));
    total += waits[i];
  }
  CHECK(waits.front() == kFirstWait);
  CHECK(total > 110 * nbdgw::proto::kSecond);
  CHECK(total < 130 * nbdgw::proto::kSecond);
  CHECK(wait_before_retry(std::numeric_limits<std::uint8_t>::max()) == kLongestWait);

  CHECK(until_given_up(with_outcome(Outcome::bad_target), Error::io).size() == kDefaultRetries);
  CHECK(until_given_up(with_status(0x40), Error::io).size() == kDefaultRetries);
}

TEST_CASE("disposition: garbage as sense is an error, not a crash") {
  ScsiCommand command = with_status(0x02);
  command.sense.fill(0xff);
  command.sense_length = 255;  // longer than the array
  CHECK(first(command, CommandKind::read).action == Action::retry_now);
  CHECK(explain(command) == "CHECK CONDITION without valid sense data");
}

TEST_CASE("disposition: explanations") {
  CHECK(explain(with_sense(SenseKey::medium_error, 0x11, 0)) ==
        "CHECK CONDITION: MEDIUM ERROR, unrecovered read error (3/11/00)");
  ScsiCommand command = with_status(0);
  command.residual_underflow = 512;
  CHECK(explain(command) == "GOOD, 512 of 4096 bytes were not transferred");
  command.residual_underflow = 0;
  command.transferred = 512;
  CHECK(explain(command) == "GOOD, but only 512 of 4096 bytes moved");
  command.transferred = 4096;
  command.residual_overflow = 7;
  CHECK(explain(command) == "GOOD, the target had 7 bytes more to transfer than the 4096 expected");
  ScsiCommand aborted = with_outcome(Outcome::aborted);
  CHECK(explain(aborted) == "it was aborted by a reset that another command made necessary");
  aborted.overdue = true;
  CHECK(explain(aborted) == "it was not answered in time and had to be aborted");
  CHECK(explain(with_outcome(Outcome::bad_target)) == "the target's answer broke the rules of iSCSI");
}
