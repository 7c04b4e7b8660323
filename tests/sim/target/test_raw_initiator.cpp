#include "tests/sim/target/test_raw_initiator.hpp"

#include <algorithm>

namespace nbdgw::sim {
namespace {

constexpr const char* kLeadingKeys =
    "HeaderDigest=None|DataDigest=None|MaxConnections=8|InitialR2T=No|ImmediateData=Yes|MaxBurstLength=262144|"
    "FirstBurstLength=65536|MaxOutstandingR2T=4|DefaultTime2Wait=0|DefaultTime2Retain=0|DataPDUInOrder=Yes|"
    "DataSequenceInOrder=Yes|ErrorRecoveryLevel=0|TaskReporting=RFC3720|MaxRecvDataSegmentLength=65536|";
constexpr const char* kJoiningKeys = "HeaderDigest=None|DataDigest=None|MaxRecvDataSegmentLength=65536|";

Buffer text_of(std::string text) {
  std::ranges::replace(text, '|', '\0');
  return {text.begin(), text.end()};
}

std::string value_of(const std::string& text, const std::string& key) {
  const std::size_t at = ("|" + text).find("|" + key + "=");
  if (at == std::string::npos) return {};
  const std::size_t from = at + key.size() + 1;
  return text.substr(from, text.find('|', from) - from);
}

}  // namespace

void RawInitiator::transmit(std::size_t link, pdu::Header& bhs, Bytes data) {
  RawLink& to = *links[link];
  put_be24(&bhs[5], static_cast<std::uint32_t>(data.size()));
  put_be32(&bhs[28], to.exp_stat_sn);
  Buffer bytes(bhs.begin(), bhs.end());
  const auto add_digest = [&](std::uint32_t crc) {
    bytes.resize(bytes.size() + 4);
    put_digest(&bytes[bytes.size() - 4], crc);
  };
  if (to.header_digest) add_digest(crc_of(bhs));
  bytes.insert(bytes.end(), data.begin(), data.end());
  bytes.resize(padded(bytes.size()));
  if (to.data_digest && !data.empty()) add_digest(crc_of(Bytes(bytes).last(padded(data.size()))));
  to.transmit(bytes, piece);
}

std::uint16_t RawInitiator::login(std::size_t controller, const std::string& keys) {
  const std::size_t link = links.size();
  links.push_back(std::make_unique<RawLink>(target_.controller(controller)));
  links[link]->cid = static_cast<std::uint16_t>(link);
  const std::string names =
      "InitiatorName=iqn.2026-11.io.nbdgw:raw|TargetName=iqn.2026-11.io.nbdgw:array|SessionType=Normal|AuthMethod="
      "None|";
  const std::string usual = tsih == 0 ? kLeadingKeys : kJoiningKeys;
  text.clear();
  std::uint8_t stage = 0;
  std::string next = names;
  for (int round = 0; round < 10; ++round) {
    pdu::Header bhs{};
    bhs[0] = 0x40 | pdu::kLogin;
    bhs[1] = stage == 0 ? 0x81 : 0x87;
    put_be32(&bhs[8], 0x80123456);
    put_be16(&bhs[14], tsih);
    put_be32(&bhs[16], 0x7000);
    put_be16(&bhs[20], static_cast<std::uint32_t>(link));
    put_be32(&bhs[24], cmd_sn);
    transmit(link, bhs, text_of(next));
    const auto answer = links[link]->next();
    if (!answer || answer->opcode() != pdu::kLoginResponse) return 0xffff;
    links[link]->exp_stat_sn = be32(&answer->bhs[24]) + 1;
    std::string got(answer->data.begin(), answer->data.end());
    std::ranges::replace(got, '\0', '|');
    text += got;
    if (const auto status = be16(&answer->bhs[36]); status != 0) return status;
    if (stage == 1 && (answer->bhs[1] & 0x80) != 0) {
      tsih = be16(&answer->bhs[14]);
      max_cmd_sn = be32(&answer->bhs[32]);
      links[link]->header_digest = value_of(text, "HeaderDigest") == "CRC32C";
      links[link]->data_digest = value_of(text, "DataDigest") == "CRC32C";
      segment = static_cast<std::uint32_t>(std::stoul(value_of(text, "MaxRecvDataSegmentLength")));
      if (value_of(text, "InitialR2T") == "No") initial_r2t = false;
      if (!value_of(text, "FirstBurstLength").empty()) {
        first_burst = static_cast<std::uint32_t>(std::stoul(value_of(text, "FirstBurstLength")));
      }
      if (!value_of(text, "ImmediateData").empty()) immediate_data = value_of(text, "ImmediateData") == "Yes";
      return 0;
    }
    next = stage == 0 ? keys.empty() ? usual : keys : "";
    stage = 1;
  }
  return 0xffff;
}

std::uint32_t RawInitiator::begin(std::size_t link, std::uint64_t lun, const Buffer& cdb, bool reads,
                                  std::uint32_t expected, const Buffer& data) {
  const std::uint32_t itt = next_itt++;
  pdu::Header bhs = pdu::begin(pdu::kScsiCommand, itt);
  bhs[1] |= static_cast<std::uint8_t>((reads ? 0x40 : 0) | (data.empty() ? 0 : 0x20) | 1);
  put_be64(&bhs[8], lun << 48);
  put_be32(&bhs[20], expected);
  put_be32(&bhs[24], cmd_sn);
  std::ranges::copy(cdb, bhs.begin() + 32);
  results[itt] = {};
  unsent[itt] = data;
  sent[itt] = {lun << 48, cmd_sn++};
  const auto burst = static_cast<std::uint32_t>(std::min<std::size_t>(data.size(), first_burst));
  const std::uint32_t immediate = immediate_data ? std::min({burst, segment, 512U}) : 0;
  const bool goes_on = !initial_r2t && immediate < burst;
  if (goes_on) bhs[1] &= 0x7f;
  transmit(link, bhs, Bytes(data).first(immediate));
  if (goes_on) send_data(link, itt, pdu::kNoTag, immediate, burst - immediate);
  return itt;
}

std::uint32_t RawInitiator::nop_out(std::size_t link) {
  pdu::Header bhs = pdu::begin(pdu::kNopOut, next_itt++);
  bhs[0] |= 0x40;
  put_be32(&bhs[20], pdu::kNoTag);
  put_be32(&bhs[24], cmd_sn);
  transmit(link, bhs);
  return next_itt - 1;
}

Result RawInitiator::run(const Buffer& cdb, bool reads, std::uint32_t expected, const Buffer& data) {
  const std::uint32_t itt =
      begin(0, 0, cdb, reads, data.empty() ? expected : static_cast<std::uint32_t>(data.size()), data);
  for (int i = 0; i < 10000 && !results[itt].over; ++i) wait(100);
  return results[itt];
}

void RawInitiator::send_function(std::uint8_t code, std::uint32_t itt, std::size_t link) {
  pdu::Header bhs = pdu::begin(pdu::kTaskManagement, next_itt++);
  bhs[0] |= 0x40;
  bhs[1] = 0x80 | code;
  const auto found = sent.find(itt);
  if (code == pdu::kAbortTask && found != sent.end()) put_be64(&bhs[8], found->second.first);
  put_be32(&bhs[20], itt);
  put_be32(&bhs[24], cmd_sn);
  if (code == pdu::kAbortTask && found != sent.end()) put_be32(&bhs[32], found->second.second);
  transmit(link, bhs);
}

std::uint8_t RawInitiator::function(std::uint8_t code, std::uint32_t itt, std::size_t link) {
  send_function(code, itt, link);
  for (int i = 0; i < 1000; ++i) {
    const auto found = std::ranges::find(others, pdu::kTaskManagementResponse, &ReceivedPdu::opcode);
    if (found != others.end()) {
      const std::uint8_t response = found->bhs[2];
      others.erase(found);
      return response;
    }
    wait(1000);
  }
  return 0xee;
}

void RawInitiator::pump() {
  for (std::size_t link = 0; link < links.size(); ++link) {
    links[link]->deliver();
    while (auto received = links[link]->next()) take(link, std::move(*received));
  }
}

void RawInitiator::wait(Micros time) {
  timeline_.advance(timeline_.now() + time);
  pump();
}

void RawInitiator::take(std::size_t link, ReceivedPdu received) {
  const auto& bhs = received.bhs;
  max_cmd_sn = comes_before(max_cmd_sn, be32(&bhs[32])) ? be32(&bhs[32]) : max_cmd_sn;
  exp_cmd_sn = be32(&bhs[28]);
  const std::uint8_t opcode = received.opcode();
  const bool takes_status = opcode == pdu::kDataIn  ? (bhs[1] & 1) != 0
                            : opcode == pdu::kNopIn ? received.itt() != pdu::kNoTag
                                                    : opcode != pdu::kR2t;
  if (takes_status) links[link]->exp_stat_sn = be32(&bhs[24]) + 1;
  Result& result = results[received.itt()];
  switch (opcode) {
    case pdu::kR2t:
      if (holds_data) {
        held.emplace_back(link, std::move(received));
      } else {
        send_data(link, received.itt(), be32(&bhs[20]), be32(&bhs[40]), be32(&bhs[44]));
      }
      return;
    case pdu::kDataIn:
      result.data.insert(result.data.end(), received.data.begin(), received.data.end());
      if ((bhs[1] & 1) == 0) return;
      break;
    case pdu::kScsiResponse:
      result.sense = std::move(received.data);
      break;
    case pdu::kReject:
      results.erase(received.itt());
      results[be32(&received.data[16])].over = results[be32(&received.data[16])].rejected = true;
      return;
    default:
      results.erase(received.itt());
      if (opcode == pdu::kNopIn && be32(&bhs[20]) != pdu::kNoTag) {
        pdu::Header answer = pdu::begin(pdu::kNopOut, pdu::kNoTag);
        answer[0] |= 0x40;
        std::copy_n(&bhs[8], 8, &answer[8]);
        std::copy_n(&bhs[20], 4, &answer[20]);
        put_be32(&answer[24], cmd_sn);
        transmit(link, answer);
      } else {
        others.push_back(std::move(received));
      }
      return;
  }
  result.over = true;
  result.status = bhs[3];
  result.flags = bhs[1] & 0x06;
  result.residual = be32(&bhs[44]);
}

void RawInitiator::send_data(std::size_t link, std::uint32_t itt, std::uint32_t ttt, std::uint32_t offset,
                             std::uint32_t length) {
  const Buffer& data = unsent[itt];
  std::uint32_t data_sn = 0;
  for (std::uint32_t done = 0; done < length && !links[link]->over;) {
    const std::uint32_t part = std::min(segment, length - done);
    pdu::Header bhs = pdu::begin(pdu::kDataOut, itt, done + part == length ? 0x80 : 0);
    put_be64(&bhs[8], sent[itt].first);
    put_be32(&bhs[20], ttt);
    put_be32(&bhs[36], data_sn++);
    put_be32(&bhs[40], offset + done);
    transmit(link, bhs, Bytes(data).subspan(offset + done, part));
    done += part;
  }
}

}  // namespace nbdgw::sim
