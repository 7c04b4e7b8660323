#include "proto/iscsi/pdu.hpp"

#include <algorithm>
#include <cstdint>

#include <doctest/doctest.h>

#include "../random.hpp"

using namespace nbdgw::proto::iscsi;

namespace {

template <typename Pdu>
Bhs encoded(const Pdu& pdu) {
  Bhs bhs;
  bhs.fill(0xee);  // encode() writes every byte
  pdu.encode(bhs);
  return bhs;
}

/// What decode() reads of any bytes, encode() writes, and decode() reads again.
template <typename Pdu>
void check_stable(const Bhs& random) {
  const Bhs once = encoded(Pdu::decode(random));
  CHECK(encoded(Pdu::decode(once)) == once);
}

}  // namespace

TEST_CASE("iSCSI headers: SCSI Command, the READ(10) of RFC 3720 B.4") {
  const Bhs bhs{0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18,
                0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
  const auto pdu = ScsiCommandPdu::decode(bhs);
  CHECK(pdu.final);
  CHECK(pdu.read);
  CHECK_FALSE(pdu.write);
  CHECK(pdu.attribute == 0);
  CHECK(pdu.itt == 0x14000000);
  CHECK(pdu.expected_length == 0x400);
  CHECK(pdu.cmd_sn == 0x14);
  CHECK(pdu.exp_stat_sn == 0x18);
  CHECK(pdu.cdb[0] == 0x28);
  CHECK(pdu.cdb[8] == 0x02);
  CHECK(encoded(pdu) == bhs);
}

TEST_CASE("iSCSI headers: Login Request by the bytes (RFC 7143 11.12)") {
  const Bhs bhs{0x43, 0x87, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x80, 0x11, 0x22, 0x33, 0x44, 0x55, 0xab, 0xcd,
                0x01, 0x02, 0x03, 0x04, 0x00, 0x05, 0x00, 0x00, 0x0a, 0x0b, 0x0c, 0x0d, 0x1a, 0x1b, 0x1c, 0x1d};
  const LoginRequest pdu{.transit = true,
                         .current_stage = LoginStage::operational,
                         .next_stage = LoginStage::full_feature,
                         .data_length = 0x102,
                         .isid = {0x80, 0x11, 0x22, 0x33, 0x44, 0x55},
                         .tsih = 0xabcd,
                         .itt = 0x01020304,
                         .cid = 5,
                         .cmd_sn = 0x0a0b0c0d,
                         .exp_stat_sn = 0x1a1b1c1d};
  CHECK(encoded(pdu) == bhs);
  CHECK(Prefix::decode(bhs).immediate);
  CHECK(Prefix::decode(bhs).data_length == 0x102);
}

TEST_CASE("iSCSI headers: Data-In with status by the bytes (RFC 7143 11.7)") {
  const Bhs bhs{0x25, 0x83, 0x00, 0x08, 0x00, 0x00, 0x10, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                0x00, 0x00, 0x00, 0x07, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x22,
                0x00, 0x00, 0x00, 0x33, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x02, 0x00};
  const auto pdu = DataIn::decode(bhs);
  CHECK(pdu.final);
  CHECK(pdu.has_status);
  CHECK(pdu.status.status == 0x08);
  CHECK(pdu.status.underflow);
  CHECK_FALSE(pdu.status.overflow);
  CHECK(pdu.status.residual_count == 0x200);
  CHECK(pdu.data_length == 0x1000);
  CHECK(pdu.lun == 0x0001000000000000);
  CHECK(pdu.itt == 7);
  CHECK(pdu.sequence.stat_sn == 0x11);
  CHECK(pdu.sequence.exp_cmd_sn == 0x22);
  CHECK(pdu.sequence.max_cmd_sn == 0x33);
  CHECK(pdu.data_sn == 4);
  CHECK(pdu.buffer_offset == 0x2000);
  CHECK(encoded(pdu) == bhs);
}

TEST_CASE("iSCSI headers: R2T, Data-Out and task management fields are where they belong") {
  const Bhs r2t = encoded(R2t{.lun = 2, .itt = 3, .ttt = 4, .r2t_sn = 5, .buffer_offset = 6, .desired_length = 7});
  CHECK(r2t[0] == 0x31);
  CHECK(r2t[1] == 0x80);
  CHECK(r2t[15] == 2);
  CHECK(r2t[19] == 3);
  CHECK(r2t[23] == 4);
  CHECK(r2t[39] == 5);
  CHECK(r2t[43] == 6);
  CHECK(r2t[47] == 7);

  const Bhs out =
      encoded(DataOut{.final = true, .data_length = 9, .itt = 3, .ttt = 4, .data_sn = 5, .buffer_offset = 6});
  CHECK(out[0] == 0x05);
  CHECK(out[1] == 0x80);
  CHECK(out[7] == 9);
  CHECK(out[23] == 4);
  CHECK(out[39] == 5);
  CHECK(out[43] == 6);

  const Bhs abort = encoded(TaskManagementRequest{
      .function = TaskManagementFunction::abort_task, .itt = 8, .referenced_task_tag = 9, .ref_cmd_sn = 10});
  CHECK(abort[0] == 0x42);  // immediate
  CHECK(abort[1] == 0x81);
  CHECK(abort[23] == 9);
  CHECK(abort[35] == 10);
}

TEST_CASE("iSCSI headers: any bytes are read, and written as they were read") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 2000; ++round) {
    Bhs bytes;
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::uint8_t>(random()); });
    check_stable<ScsiCommandPdu>(bytes);
    check_stable<TaskManagementRequest>(bytes);
    check_stable<DataOut>(bytes);
    check_stable<TextRequest>(bytes);
    check_stable<LoginRequest>(bytes);
    check_stable<LogoutRequest>(bytes);
    check_stable<SnackRequest>(bytes);
    check_stable<NopOut>(bytes);
    check_stable<ScsiResponse>(bytes);
    check_stable<TaskManagementResponse>(bytes);
    check_stable<DataIn>(bytes);
    check_stable<R2t>(bytes);
    check_stable<AsyncMessage>(bytes);
    check_stable<TextResponse>(bytes);
    check_stable<LoginResponse>(bytes);
    check_stable<LogoutResponse>(bytes);
    check_stable<Reject>(bytes);
    check_stable<NopIn>(bytes);
  }
}

TEST_CASE("iSCSI headers: padding is to four") {
  CHECK(padding(0) == 0);
  CHECK(padding(1) == 3);
  CHECK(padding(2) == 2);
  CHECK(padding(3) == 1);
  CHECK(padding(4) == 0);
  CHECK(padding(0xffffff) == 1);
}
