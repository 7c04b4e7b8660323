#include "proto/nbd/messages.hpp"

#include "proto/bytes/endian.hpp"

namespace nbdgw::proto::nbd {

void Greeting::encode(Out<kGreetingLength> to) const noexcept {
  store_be64(&to[0], init_password);
  store_be64(&to[8], option_magic);
  store_be16(&to[16], flags);
}

Greeting Greeting::decode(In<kGreetingLength> from) noexcept {
  return {load_be64(&from[0]), load_be64(&from[8]), load_be16(&from[16])};
}

void OptionRequest::encode(Out<kOptionRequestLength> to) const noexcept {
  store_be64(&to[0], magic);
  store_be32(&to[8], static_cast<std::uint32_t>(option));
  store_be32(&to[12], length);
}

OptionRequest OptionRequest::decode(In<kOptionRequestLength> from) noexcept {
  return {load_be64(&from[0]), static_cast<Option>(load_be32(&from[8])), load_be32(&from[12])};
}

void OptionReply::encode(Out<kOptionReplyLength> to) const noexcept {
  store_be64(&to[0], magic);
  store_be32(&to[8], static_cast<std::uint32_t>(option));
  store_be32(&to[12], static_cast<std::uint32_t>(type));
  store_be32(&to[16], length);
}

OptionReply OptionReply::decode(In<kOptionReplyLength> from) noexcept {
  return {load_be64(&from[0]), static_cast<Option>(load_be32(&from[8])), static_cast<Reply>(load_be32(&from[12])),
          load_be32(&from[16])};
}

void InfoExport::encode(Out<kInfoExportLength> to) const noexcept {
  store_be16(&to[0], static_cast<std::uint16_t>(Info::export_));
  store_be64(&to[2], size);
  store_be16(&to[10], flags);
}

InfoExport InfoExport::decode(In<kInfoExportLength> from) noexcept {
  return {load_be64(&from[2]), load_be16(&from[10])};
}

void InfoBlockSize::encode(Out<kInfoBlockSizeLength> to) const noexcept {
  store_be16(&to[0], static_cast<std::uint16_t>(Info::block_size));
  store_be32(&to[2], minimum);
  store_be32(&to[6], preferred);
  store_be32(&to[10], max_payload);
}

InfoBlockSize InfoBlockSize::decode(In<kInfoBlockSizeLength> from) noexcept {
  return {load_be32(&from[2]), load_be32(&from[6]), load_be32(&from[10])};
}

void Request::encode(Out<kRequestLength> to) const noexcept {
  store_be32(&to[0], magic);
  store_be16(&to[4], flags);
  store_be16(&to[6], static_cast<std::uint16_t>(command));
  store_be64(&to[8], cookie);
  store_be64(&to[16], offset);
  store_be32(&to[24], length);
}

Request Request::decode(In<kRequestLength> from) noexcept {
  return {load_be32(&from[0]), load_be16(&from[4]),  static_cast<Command>(load_be16(&from[6])),
          load_be64(&from[8]), load_be64(&from[16]), load_be32(&from[24])};
}

void SimpleReply::encode(Out<kSimpleReplyLength> to) const noexcept {
  store_be32(&to[0], magic);
  store_be32(&to[4], static_cast<std::uint32_t>(error));
  store_be64(&to[8], cookie);
}

SimpleReply SimpleReply::decode(In<kSimpleReplyLength> from) noexcept {
  return {load_be32(&from[0]), static_cast<Error>(load_be32(&from[4])), load_be64(&from[8])};
}

void ChunkHeader::encode(Out<kChunkHeaderLength> to) const noexcept {
  store_be32(&to[0], magic);
  store_be16(&to[4], flags);
  store_be16(&to[6], static_cast<std::uint16_t>(type));
  store_be64(&to[8], cookie);
  store_be32(&to[16], length);
}

ChunkHeader ChunkHeader::decode(In<kChunkHeaderLength> from) noexcept {
  return {load_be32(&from[0]), load_be16(&from[4]), static_cast<Chunk>(load_be16(&from[6])), load_be64(&from[8]),
          load_be32(&from[16])};
}

void ChunkError::encode(Out<kChunkErrorLength> to) const noexcept {
  store_be32(&to[0], static_cast<std::uint32_t>(error));
  store_be16(&to[4], text_length);
}

ChunkError ChunkError::decode(In<kChunkErrorLength> from) noexcept {
  return {static_cast<Error>(load_be32(&from[0])), load_be16(&from[4])};
}

}  // namespace nbdgw::proto::nbd
