#include <doctest/doctest.h>

#include <algorithm>

#include "tests/sim/target/test_bench.hpp"

namespace nbdgw::sim {

TEST_CASE("crc32c: the examples of RFC 7143, appendix A") {
  const Buffer zeroes(32, 0);
  const Buffer ones(32, 0xff);
  CHECK(crc_of(zeroes) == 0x8a9136aa);
  CHECK(crc_of(ones) == 0x62a8ab43);
  CHECK(crc_of(Bytes(ones).last(13), crc_of(Bytes(ones).first(19))) == 0x62a8ab43);
}

TEST_CASE_FIXTURE(Bench, "target: connections of a session, and what was negotiated") {
  options.habits.max_burst = 100'000;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  CHECK(initiator.login() == 0);
  CHECK(initiator.tsih != 0);
  CHECK(initiator.text.find("TargetPortalGroupTag=1|") != std::string::npos);
  CHECK(initiator.text.find("MaxBurstLength=100000|") != std::string::npos);
  CHECK(initiator.text.find("TaskReporting=NotUnderstood|") != std::string::npos);
  CHECK(initiator.login() == 0);
  CHECK(initiator.login() == 0);
  CHECK(initiator.login(1) == 0x020a);  // another portal group has no such session
  CHECK(world.target.sessions() == 1);
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "target: a disk is probed, written and read") {
  options.habits.login_attention = true;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  CHECK(initiator.run(kTestUnitReady).what() == scsi::kPowerOnOrReset);
  CHECK(initiator.run(kTestUnitReady).good());
  const Result standard = initiator.run({scsi::kInquiry, 0, 0, 0, 255, 0}, true, 255);
  CHECK(standard.data.size() == 74);
  CHECK(standard.flags == 2);
  CHECK(standard.residual == 255 - 74);
  const Result serial = initiator.run(inquiry(0x80), true, 255);
  CHECK(std::string(serial.data.begin() + 4, serial.data.end()) == "0001");
  CHECK(be64(&initiator.run(inquiry(0x83), true, 255).data[8]) == 0x6001405000000001);
  Buffer capacity(16);
  capacity[0] = scsi::kServiceActionIn16;
  capacity[1] = scsi::kReadCapacity16;
  capacity[13] = 32;
  CHECK(be64(initiator.run(capacity, true, 32).data.data()) == 65535);
  CHECK(initiator.run({scsi::kModeSense6, 8, 8, 0, 252, 0}, true, 252).data[6] == 4);

  const Buffer data = pattern(100'000 / 512 * 512, 3);
  const auto blocks = static_cast<std::uint32_t>(data.size() / 512);
  const auto length = static_cast<std::uint32_t>(data.size());
  initiator.piece = 1000;
  CHECK(initiator.run(block_cdb(scsi::kWrite16, 10, blocks), false, 0, data).good());
  CHECK(initiator.run(block_cdb(scsi::kRead16, 10, blocks), true, length).data == data);
  CHECK(initiator.run(block_cdb(scsi::kRead10, 65535, 2), true, 1024).what() == scsi::kOutOfRange);
  CHECK(world.target.medium(0).dirty_blocks() == blocks);
  CHECK(initiator.run(block_cdb(scsi::kSynchronizeCache10, 0, 0)).good());
  CHECK(world.target.medium(0).dirty_blocks() == 0);
  CHECK(ears.writes.size() == 1);
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "target: what it has not, it refuses; what is not sent, it tells") {
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  Buffer protected_read = block_cdb(scsi::kRead10, 0, 1);
  protected_read[1] = 0x20;
  CHECK(initiator.run(protected_read, true, 512).what() == scsi::kInvalidField);
  Buffer anchored = block_cdb(scsi::kWriteSame16, 0, 1);
  anchored[1] = 0x18;
  CHECK(initiator.run(anchored, false, 0, Buffer(512)).what() == scsi::kInvalidField);
  CHECK(initiator.run({scsi::kInquiry, 0, 0x83, 0, 255, 0}, true, 255).what() == scsi::kInvalidField);
  const Result short_of_data = initiator.run(block_cdb(scsi::kWrite10, 0, 3), false, 0, pattern(1024, 1));
  CHECK(short_of_data.good());
  CHECK(short_of_data.flags == 4);
  CHECK(short_of_data.residual == 512);
  Buffer list(8 + 2 * 16);
  put_be16(&list[2], 2 * 16);
  put_be32(&list[16], 1 << 15);
  put_be32(&list[32], (1 << 15) + 1);
  Buffer unmap{scsi::kUnmap, 0, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(list.size()), 0};
  CHECK(initiator.run(unmap, false, 0, list).what() == scsi::kInvalidParameter);
}

TEST_CASE_FIXTURE(Bench, "target: digests, in both directions") {
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login(0, "HeaderDigest=CRC32C,None|DataDigest=CRC32C|MaxRecvDataSegmentLength=4096|") == 0);
  RawLink& link = *initiator.links[0];
  REQUIRE((link.header_digest && link.data_digest));
  const Buffer data = pattern(8192, 9);
  CHECK(initiator.run(block_cdb(scsi::kWrite10, 0, 16), false, 0, data).good());
  CHECK(initiator.run(block_cdb(scsi::kRead10, 0, 16), true, 8192).data == data);
  CHECK(link.digests_right);
  CHECK(ears.complaints.empty());
  link.header_digest = false;
  initiator.begin(0, 0, kTestUnitReady, false, 0);
  initiator.begin(0, 0, kTestUnitReady, false, 0);
  CHECK(ears.heard("a wrong header digest"));
  CHECK(link.over);
}

TEST_CASE_FIXTURE(Bench, "target: commands enter in the order of their CmdSN, over all connections") {
  options.habits.instant = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  REQUIRE(initiator.login() == 0);
  const std::uint32_t first = initiator.cmd_sn++;
  const std::uint32_t later = initiator.begin(1, 0, kTestUnitReady, false, 0);
  initiator.wait(1000);
  CHECK_FALSE(initiator.results[later].over);
  initiator.cmd_sn = first;
  const std::uint32_t earlier = initiator.begin(0, 0, kTestUnitReady, false, 0);
  initiator.wait(1000);
  CHECK(initiator.results[earlier].good());
  CHECK(initiator.results[later].good());
  CHECK(initiator.exp_cmd_sn == first + 2);
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "target: the window closes, and opens with answers") {
  options.habits.window = 4;
  options.habits.instant = 0;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  for (int i = 0; i < 4; ++i) initiator.begin(0, 0, kTestUnitReady, false, 0);
  const std::uint32_t most = initiator.max_cmd_sn;
  CHECK(most == initiator.cmd_sn - 1);
  CHECK(ears.complaints.empty());
  initiator.wait(10'000);
  CHECK(initiator.max_cmd_sn == most + 4);
  initiator.cmd_sn += 4;
  initiator.begin(0, 0, kTestUnitReady, false, 0);
  CHECK(ears.heard("outside of the window"));
}

TEST_CASE_FIXTURE(Bench, "target: functions end what they are about, and nothing is written after that") {
  options.faults[Fault::hung_command] = 1;
  options.habits.ends_at_once = true;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  const Buffer data = pattern(512, 1);
  const std::uint32_t itt = initiator.begin(0, 0, block_cdb(scsi::kWrite10, 0, 1), false, 512, data);
  initiator.wait(1000);
  const CommandTable& commands = world.target.commands();
  CHECK(commands.may_still_write(world.target.medium(0), 0, 8));
  CHECK(initiator.function(pdu::kAbortTask, itt) == pdu::kComplete);
  CHECK_FALSE(commands.may_still_write(world.target.medium(0), 0, 8));
  CHECK(commands.records().back().fate == Fate::aborted);
  CHECK(initiator.function(pdu::kAbortTask, itt) == pdu::kNoSuchTask);
  initiator.begin(0, 0, block_cdb(scsi::kWrite10, 0, 1), false, 512, data);
  CHECK(initiator.function(pdu::kLunReset) == pdu::kComplete);
  CHECK(initiator.function(pdu::kReassign) == pdu::kNotSupported);
  world.target.heal();
  initiator.wait(proto::kSecond);
  CHECK(ears.writes.empty());
  CHECK(ears.complaints == std::vector<std::string>{"session 1, connection 1 (CID 0): task management function 8"});
}

TEST_CASE_FIXTURE(Bench, "target: late data, as tgt takes it") {
  options.faults[Fault::function_late_data] = 1;
  options.faults.longest_ghost = 5 * proto::kMillisecond;
  options.habits.initial_r2t = true;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.holds_data = true;
  initiator.begin(0, 0, block_cdb(scsi::kWrite10, 0, 8), false, 4096, pattern(4096, 1));
  initiator.pump();
  REQUIRE(initiator.held.size() == 1);
  CHECK(initiator.function(pdu::kLunReset) == pdu::kComplete);
  CHECK(world.target.commands().may_still_write(world.target.medium(0), 0, 8));
  initiator.holds_data = false;
  const ReceivedPdu r2t = initiator.held[0].second;
  pdu::Header bhs = pdu::begin(pdu::kDataOut, r2t.itt());
  std::copy_n(&r2t.bhs[8], 16, &bhs[8]);
  put_be32(&bhs[40], 512);
  initiator.transmit(0, bhs, Bytes(pattern(4096, 1)).subspan(512));
  SUBCASE("and it is written") {
    initiator.wait(10'000);
  }
  SUBCASE("and a second reset waits for that") {
    CHECK(initiator.function(pdu::kLunReset) == pdu::kComplete);
  }
  REQUIRE(ears.writes.size() == 1);
  CHECK(ears.writes[0].fate == Fate::aborted);
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "target: data that it has not asked for it asks for when the command is being aborted") {
  options.faults[Fault::function_late_data] = 1;
  options.faults[Fault::no_r2t] = 1;
  options.habits.initial_r2t = true;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.holds_data = true;
  const std::uint32_t itt = initiator.begin(0, 0, block_cdb(scsi::kWrite10, 0, 8), false, 4096, pattern(4096, 1));
  initiator.wait(1000);
  CHECK(initiator.held.empty());
  CHECK(initiator.function(pdu::kAbortTask, itt) == pdu::kComplete);
  CHECK(initiator.held.size() == 1);
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "target: a command outlives its session, and a reset through the next one finds it") {
  options.faults[Fault::outlives_session] = 1;
  options.faults[Fault::slow_command] = 1;
  options.faults.longest_delay = options.faults.longest_ghost = 100 * proto::kMillisecond;
  SUBCASE("and ends it") {
    options.habits.ends_at_once = true;
  }
  SUBCASE("and waits for it") {
    options.habits.ends_at_once = false;
  }
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.begin(0, 0, block_cdb(scsi::kWrite10, 0, 1), false, 512, pattern(512, 1));
  initiator.tsih = 0;
  REQUIRE(initiator.login() == 0);
  CHECK(initiator.links[0]->over);
  CHECK(world.target.sessions() == 1);
  CHECK(world.target.commands().may_still_write(world.target.medium(0), 0, 1));
  CHECK(initiator.function(pdu::kLunReset, pdu::kNoTag, 1) == pdu::kComplete);
  CHECK_FALSE(world.target.commands().may_still_write(world.target.medium(0), 0, 1));
  CHECK(ears.writes.size() == (options.habits.ends_at_once ? 0 : 1));
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "target: a power loss takes what was not flushed, and is told until it is known") {
  options.faults[Fault::power_loss] = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  const Buffer data = pattern(512, 1);
  CHECK(initiator.run(block_cdb(scsi::kWrite10, 0, 1), false, 0, data).good());
  CHECK(initiator.run(block_cdb(scsi::kSynchronizeCache10, 0, 0)).good());
  CHECK(initiator.run(block_cdb(scsi::kWrite10, 1, 1), false, 0, data).good());
  Buffer through = block_cdb(scsi::kWrite10, 2, 1);
  through[1] = 0x08;  // FUA
  CHECK(initiator.run(through, false, 0, data).good());
  initiator.wait(options.faults.tick);
  world.target.heal();
  const Medium& medium = world.target.medium(0);
  CHECK(medium.dirty_blocks() == 0);
  CHECK(medium.block(0)[1] == data[1]);
  CHECK(medium.block(2)[1] == data[1]);
  for (int session = 0; session < 2; ++session) {
    initiator.links.clear();
    initiator.tsih = 0;
    REQUIRE(initiator.login() == 0);
    CHECK(initiator.run(kTestUnitReady).what() == scsi::kPowerOn);
    if (session == 1) CHECK(initiator.run(kTestUnitReady).good());  // acknowledges
  }
  initiator.links.clear();
  initiator.tsih = 0;
  REQUIRE(initiator.login() == 0);
  CHECK(initiator.run(kTestUnitReady).good());
}

TEST_CASE_FIXTURE(Bench, "target: another disk behind the number, and who knows of it") {
  options.faults[Fault::unit_remapped] = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  const Buffer data = pattern(512, 1);
  // Who was never told which disk it is takes any.
  for (int i = 0; i < 1000; ++i) REQUIRE(initiator.run(block_cdb(scsi::kWrite10, 0, 1), false, 0, data).good());
  REQUIRE(initiator.run(inquiry(0x83), true, 255).good());
  ears.writes.clear();
  std::uint32_t told = 0;
  for (int i = 0; i < 100'000 && told == 0; ++i) {
    const Result result = initiator.run(block_cdb(scsi::kWrite10, 0, 1), false, 0, data);
    if (!result.good() && (result.what() == scsi::kLunsChanged || result.what() == scsi::kNoSuchUnit))
      told = initiator.cmd_sn;
  }
  REQUIRE(told != 0);
  CHECK(std::ranges::all_of(ears.writes, [](const Origin& each) { return each.warned; }));
  ears.writes.clear();
  while (ears.writes.empty()) initiator.run(block_cdb(scsi::kWrite10, 0, 1), false, 0, data);
  CHECK(ears.writes[0].cmd_sn >= told);
  CHECK(ears.writes[0].warned);
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "target: faults have names, can be left out, and end when it heals") {
  options.faults[Fault::busy] = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  CHECK(initiator.run(kTestUnitReady).status == scsi::kBusy);
  CHECK(world.target.faults_seen() == std::map<std::string, std::uint64_t>{{"busy", 1}});
  world.target.allow("busy", false);
  CHECK(initiator.run(kTestUnitReady).good());
  world.target.allow("busy", true);
  CHECK(initiator.run(kTestUnitReady).status == scsi::kBusy);
  world.target.heal();
  CHECK(initiator.run(kTestUnitReady).good());
}

TEST_CASE_FIXTURE(Bench, "checker: data that was not asked for, or does not belong where it says") {
  options.habits.initial_r2t = true;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.holds_data = true;
  const Buffer data = pattern(8192, 1);
  initiator.begin(0, 0, block_cdb(scsi::kWrite10, 0, 16), false, 8192, data);
  initiator.pump();
  REQUIRE(initiator.held.size() == 1);
  pdu::Header bhs = pdu::begin(pdu::kDataOut, initiator.held[0].second.itt());
  std::copy_n(&initiator.held[0].second.bhs[8], 16, &bhs[8]);
  put_be32(&bhs[40], 512);
  std::string complaint;
  SUBCASE("too little") {
    complaint = "ends before all was sent";
  }
  SUBCASE("at another place") {
    put_be32(&bhs[40], 1024);
    complaint = "does not go on where the last part ended";
  }
  SUBCASE("with another number") {
    put_be32(&bhs[36], 1);
    complaint = "has a wrong DataSN";
  }
  SUBCASE("for another LUN") {
    bhs[9] = 1;
    complaint = "has another LUN";
  }
  SUBCASE("with another tag") {
    put_be32(&bhs[20], 99);
    complaint = "was not asked for";
  }
  SUBCASE("unasked") {
    put_be32(&bhs[20], pdu::kNoTag);
    complaint = "was not announced";
  }
  initiator.transmit(0, bhs, Bytes(data).subspan(512, complaint[0] == 'e' ? 512 : 7680));
  CHECK(ears.heard(complaint));
  CHECK(initiator.links[0]->over);
}

TEST_CASE_FIXTURE(Bench, "checker: numbers and tags") {
  options.habits.instant = 0;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  SUBCASE("a CmdSN again") {
    initiator.begin(0, 0, kTestUnitReady, false, 0);
    --initiator.cmd_sn;
    initiator.begin(0, 0, kTestUnitReady, false, 0);
    CHECK(ears.heard("is used again"));
  }
  SUBCASE("a tag that is in use") {
    initiator.begin(0, 0, kTestUnitReady, false, 0);
    --initiator.next_itt;
    initiator.begin(0, 0, kTestUnitReady, false, 0);
    CHECK(ears.heard("has the tag of one that is not over"));
  }
  SUBCASE("an ExpStatSN ahead") {
    ++initiator.links[0]->exp_stat_sn;
    initiator.begin(0, 0, kTestUnitReady, false, 0);
    CHECK(ears.heard("but StatSN has only come to"));
  }
  SUBCASE("an ExpStatSN that goes back") {
    --initiator.links[0]->exp_stat_sn;
    initiator.begin(0, 0, kTestUnitReady, false, 0);
    CHECK(ears.heard("ExpStatSN goes back"));
  }
  SUBCASE("a wrong RefCmdSN") {
    const std::uint32_t itt = initiator.begin(0, 0, kTestUnitReady, false, 0);
    ++initiator.sent[itt].second;
    initiator.send_function(pdu::kAbortTask, itt);
    CHECK(ears.heard("with a wrong RefCmdSN"));
  }
  SUBCASE("two functions at a time") {
    initiator.send_function(pdu::kLunReset, pdu::kNoTag);
    initiator.send_function(pdu::kLunReset, pdu::kNoTag);
    CHECK(ears.heard("while another one is under way"));
  }
}

TEST_CASE_FIXTURE(Bench, "checker: keys") {
  BenchWorld world(options);
  SUBCASE("twice") {
    world.initiator.login(0, "HeaderDigest=None|HeaderDigest=None|");
    CHECK(ears.heard("the key HeaderDigest twice"));
  }
  SUBCASE("of the session, when joining it") {
    REQUIRE(world.initiator.login() == 0);
    world.initiator.login(0, "MaxBurstLength=1024|");
    CHECK(ears.heard("the key MaxBurstLength when joining"));
  }
}

}  // namespace nbdgw::sim
