// Word of a failure for a rank that there is no link to: a notice signed with the group's key,
// alone on a connection that is closed behind it. The rank finds it in its backlog even if its
// author has gone meanwhile. Sent again by somebody else it tells nothing that is not true.
//
//   Wire      magic 8, session 8, from 4, to 4, notice record (kRecordMax, padded), proof 32
//   Bounds    always kWordBytes long; nothing is allocated from a peer's length.
//   Threads   any.

#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "gossamer/transport.h"
#include "transports/tcp/frame.h"

namespace gossamer::tcp {

inline constexpr size_t kRecordMax = kRecordHeaderBytes + kRecordBytesMax;
inline constexpr size_t kWordMagicBytes = 8;
inline constexpr size_t kWordBytes = 24 + kRecordMax + 32;
using Word = std::array<std::byte, kWordBytes>;

// From the rank of `config` to rank `to`.
Word make_word(const TransportConfig& config, Rank to, const Record& notice);
// Whether these bytes, kWordMagicBytes of them or fewer, begin a word.
bool begins_word(std::span<const std::byte> bytes);
// False: no rank of the group wrote this to us. Else *fault is set.
bool read_word(const TransportConfig& config, const Word& word, Fault* fault);

}  // namespace gossamer::tcp
