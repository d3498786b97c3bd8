// What the files of the C boundary share: handles, codes mapped once, the last sentence per thread.
//
// Threads    Any.

#pragma once

#include <exception>
#include <memory>
#include <new>
#include <string>

#include "gossamer/communicator.h"
#include "gossamer/compression.h"
#include "gossamer/gossamer_compress.h"
#include "gossamer/gossip.h"
#include "gossamer/stream.h"
#include "src/enum_number.h"

struct gossamerComm {
  std::unique_ptr<gossamer::Communicator> communicator;
};

struct gossamerWork {
  gossamer::Work work;
};

struct gossamerPlan {
  gossamer::PersistentCollective collective;
  // Of one with a codec: what the caller's says, as of the last start. The collective knows its
  // address, so the plan stays where it is.
  gossamer::Compression compression = {};
  const gossamerCompression_t* given = nullptr;
};

struct gossamerGraph {
  std::unique_ptr<gossamer::Graph> graph;
};

struct gossamerStream {
  gossamer::Stream stream;
};

namespace gossamer::boundary {

gossamerResult_t result_of(Code code);
// Keeps the sentence of a failure, and maps its code.
gossamerResult_t finish(const Status& status);
gossamerResult_t refuse(const char* sentence);
// The standard library has thrown: out of memory, no more threads.
gossamerResult_t out_of_memory();
gossamerResult_t thrown(const std::exception& exception);
// What gossamerGetLastError() shows of this thread.
const std::string& last_sentence();

// Nothing but the standard library throws.
template <class Call>
gossamerResult_t guarded(Call call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::exception& e) {
    return thrown(e);
  }
}

using gossamer::number_of;

// What is out of range stays so, instead of being cut to a byte that may be in range.
inline DataType type_of(const gossamerDataType_t& type) {
  const uint32_t number = number_of(type);
  return static_cast<DataType>(number < kDataTypeCount ? number : UINT8_MAX);
}

inline bool plain(const gossamerRedOp_t& op) {
  return number_of(op) <= gossamerAvg;
}

Result<Communicator::Options> options_of(const gossamerConfig_t* config);
gossamerResult_t hand_over(Result<std::unique_ptr<Communicator>> made, gossamerComm_t* comm);
gossamerResult_t hand_over(Work work, gossamerWork_t* handle);

gossamerResult_t hand_over(Result<PersistentCollective> made, gossamerPlan_t* handle);
// Of a plan with a codec: reads the caller's compression again. Null, or what is wrong with it.
const char* renew_compression(gossamerPlan* plan);

inline constexpr const char* kNoGraph = "the graph is null; gossamerGraphCreate* makes one";
inline constexpr const char* kNoComm = "the communicator is null; gossamerCommInit* makes one";
inline constexpr const char* kNoWork = "the work handle is null; a ...Start call makes one";
inline constexpr const char* kNoPlan = "the plan is null; a call ending in Init makes one";
inline constexpr const char* kNoResult = "the pointer for the result is null";
inline constexpr const char* kNoOp =
    "the operation is none of gossamerRedOp_t; use gossamerAllReducePreMulSum or "
    "gossamerAllReduceUser for others";

}  // namespace gossamer::boundary
