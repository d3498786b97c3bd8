// The C boundary of compressed collectives.

#include <memory>
#include <utility>

#include "gossamer/compression.h"
#include "gossamer/gossamer_compress.h"
#include "gossamer/gossip_compressed.h"
#include "src/c_boundary.h"

using gossamer::Codec;
using gossamer::Collective;
using gossamer::CollectiveCall;
using gossamer::Compression;
using gossamer::PersistentCollective;
using gossamer::ReduceOp;
using gossamer::Result;
using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace)

struct gossamerCodec {
  std::unique_ptr<Codec> codec;
};

namespace {

constexpr const char* kNoCodec = "the codec is null; gossamerCodecCreate() makes one";
constexpr const char* kNoCompression =
    "the compression is null; initialise one with GOSSAMER_COMPRESSION_INITIALIZER and give it a "
    "codec";

// Null, or what is wrong with it.
const char* fault_of(const gossamerCompression_t* given) {
  if (given == nullptr) return kNoCompression;
  if (given->size != sizeof(gossamerCompression_t)) {
    return "the compression was not initialised with GOSSAMER_COMPRESSION_INITIALIZER, or by "
           "another version's";
  }
  return given->codec == nullptr ? kNoCodec : nullptr;
}

Compression compression_of(const gossamerCompression_t& given) {
  return {.codec = given.codec->codec.get(),
          .residual = given.residual,
          .next_residual = given.next_residual,
          .draws = {.own = given.own_seed, .shared = given.shared_seed},
          .not_finite = given.not_finite};
}

CollectiveCall calling(Collective collective, const void* in, void* out, size_t count,
                       const gossamerDataType_t& type, const gossamerRedOp_t& op) {
  return {.collective = collective,
          .input = in,
          .output = out,
          .count = count,
          .type = type_of(type),
          // as type_of(): what is out of range stays so
          .reduction = static_cast<ReduceOp>(plain(op) ? number_of(op) : UINT8_MAX)};
}

constexpr const char* kNoCall =
    "the call is null; initialise one with GOSSAMER_CALL_INITIALIZER and fill it in";

// Null, or what is wrong with it.
const char* fault_of(const gossamerCall_t* given) {
  if (given == nullptr) return kNoCall;
  if (given->size != sizeof(gossamerCall_t)) {
    return "the call was not initialised with GOSSAMER_CALL_INITIALIZER, or by another version's";
  }
  if (number_of(given->collective) > gossamerCallNeighborAllGather) {
    return "the collective is none of gossamerCollective_t";
  }
  const bool reduces = gossamer::reduces(static_cast<Collective>(number_of(given->collective)));
  return !reduces || plain(given->op) ? nullptr : kNoOp;
}

CollectiveCall call_of(const gossamerCall_t& given) {
  CollectiveCall call =
      calling(static_cast<Collective>(number_of(given.collective)), given.sendbuff, given.recvbuff,
              given.count, given.datatype, given.op);
  call.root = given.root;
  if (given.graph != nullptr) call.graph = given.graph->graph.get();
  call.round = given.round;
  return call;
}

gossamerResult_t run(CollectiveCall call, const gossamerCompression_t* given, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  if (const char* const fault = fault_of(given); fault != nullptr) return refuse(fault);
  return guarded([&] {
    const Compression compression = compression_of(*given);
    call.compression = &compression;
    return finish(comm->communicator->run(call));
  });
}

gossamerResult_t run_around(CollectiveCall call, gossamerGraph_t graph, uint64_t round,
                            const gossamerCompression_t* given, gossamerComm_t comm) {
  if (graph == nullptr) return refuse(kNoGraph);
  call.graph = graph->graph.get();
  call.round = round;
  return run(call, given, comm);
}

gossamerResult_t start(CollectiveCall call, const gossamerCompression_t* given, gossamerComm_t comm,
                       gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (work == nullptr) return refuse(kNoResult);
  if (const char* const fault = fault_of(given); fault != nullptr) return refuse(fault);
  return guarded([&] {
    const Compression compression = compression_of(*given);
    call.compression = &compression;
    return hand_over(comm->communicator->start(call), work);
  });
}

gossamerResult_t count_residual(CollectiveCall call, int in_place, gossamerCodec_t codec,
                                gossamerComm_t comm, uint64_t* floats) {
  if (comm == nullptr) return refuse(kNoComm);
  if (codec == nullptr) return refuse(kNoCodec);
  if (floats == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Compression compression{.codec = codec->codec.get()};
    call.compression = &compression;
    const Result<uint64_t> count = comm->communicator->residual_count(call, in_place != 0);
    if (count) *floats = *count;
    return finish(count.status());
  });
}

}  // namespace

const char* gossamer::boundary::renew_compression(gossamerPlan* plan) {
  if (plan->given == nullptr) return nullptr;
  const char* const fault = fault_of(plan->given);
  if (fault == nullptr) plan->compression = compression_of(*plan->given);
  return fault;
}

extern "C" {

gossamerResult_t gossamerCodecCreate(gossamerCodec_t* codec, const char* text) {
  if (codec == nullptr) return refuse(kNoResult);
  *codec = nullptr;
  if (text == nullptr) return refuse("the codec's name is null; write for example \"int8\"");
  return guarded([&] {
    Result<std::unique_ptr<Codec>> made = gossamer::make_codec(text);
    if (!made) return finish(made.status());
    *codec = new gossamerCodec{std::move(made).value()};
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCodecDestroy(gossamerCodec_t codec) {
  delete codec;
  return gossamerSuccess;
}

const char* gossamerCodecName(gossamerCodec_t codec) {
  return codec == nullptr ? nullptr : codec->codec->name().c_str();
}

gossamerResult_t gossamerCodecBytesMax(gossamerCodec_t codec, size_t count, uint64_t* bytes) {
  if (codec == nullptr) return refuse(kNoCodec);
  if (bytes == nullptr) return refuse(kNoResult);
  return guarded([&] {
    *bytes = codec->codec->bytes_max(count);
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCallCompressed(const gossamerCall_t* call,
                                        const gossamerCompression_t* compression,
                                        gossamerComm_t comm) {
  if (const char* const fault = fault_of(call); fault != nullptr) return refuse(fault);
  return run(call_of(*call), compression, comm);
}

gossamerResult_t gossamerCallCompressedStart(const gossamerCall_t* call,
                                             const gossamerCompression_t* compression,
                                             gossamerComm_t comm, gossamerWork_t* work) {
  if (const char* const fault = fault_of(call); fault != nullptr) return refuse(fault);
  return start(call_of(*call), compression, comm, work);
}

gossamerResult_t gossamerCallCompressedInit(const gossamerCall_t* call,
                                            const gossamerCompression_t* compression,
                                            gossamerComm_t comm, gossamerPlan_t* plan) {
  if (const char* const fault = fault_of(call); fault != nullptr) return refuse(fault);
  if (comm == nullptr) return refuse(kNoComm);
  if (plan == nullptr) return refuse(kNoResult);
  *plan = nullptr;
  if (const char* const fault = fault_of(compression); fault != nullptr) return refuse(fault);
  return guarded([&] {
    auto made = std::make_unique<gossamerPlan>();
    made->given = compression;
    made->compression = compression_of(*compression);
    CollectiveCall bound = call_of(*call);
    bound.compression = &made->compression;
    Result<PersistentCollective> collective = comm->communicator->plan(bound);
    if (!collective) return finish(collective.status());
    made->collective = std::move(collective).value();
    *plan = made.release();
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCallResidualCount(const gossamerCall_t* call, int in_place,
                                           gossamerCodec_t codec, gossamerComm_t comm,
                                           uint64_t* floats) {
  if (const char* const fault = fault_of(call); fault != nullptr) return refuse(fault);
  return count_residual(call_of(*call), in_place, codec, comm, floats);
}

gossamerResult_t gossamerBroadcastCompressed(const void* sendbuff, void* recvbuff, size_t count,
                                             gossamerDataType_t datatype, int root,
                                             const gossamerCompression_t* compression,
                                             gossamerComm_t comm) {
  CollectiveCall call =
      calling(Collective::kBroadcast, sendbuff, recvbuff, count, datatype, gossamerSum);
  call.root = root;
  return run(call, compression, comm);
}

gossamerResult_t gossamerNeighborAllGatherCompressed(const void* sendbuff, void* recvbuff,
                                                     size_t count, gossamerDataType_t datatype,
                                                     gossamerGraph_t graph, uint64_t round,
                                                     const gossamerCompression_t* compression,
                                                     gossamerComm_t comm) {
  return run_around(
      calling(Collective::kNeighborAllGather, sendbuff, recvbuff, count, datatype, gossamerSum),
      graph, round, compression, comm);
}

gossamerResult_t gossamerPairGossipCompressed(const void* sendbuff, void* recvbuff, size_t count,
                                              gossamerDataType_t datatype, int peer,
                                              const gossamerCompression_t* compression,
                                              gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  if (const char* const fault = fault_of(compression); fault != nullptr) return refuse(fault);
  return guarded([&] {
    return finish(gossamer::pair_gossip(*comm->communicator, sendbuff, recvbuff, count,
                                        type_of(datatype), peer, compression_of(*compression)));
  });
}

gossamerResult_t gossamerAllReduceCompressed(const void* sendbuff, void* recvbuff, size_t count,
                                             gossamerDataType_t datatype, gossamerRedOp_t op,
                                             const gossamerCompression_t* compression,
                                             gossamerComm_t comm) {
  return run(calling(Collective::kAllReduce, sendbuff, recvbuff, count, datatype, op), compression,
             comm);
}

gossamerResult_t gossamerAllReduceCompressedStart(const void* sendbuff, void* recvbuff,
                                                  size_t count, gossamerDataType_t datatype,
                                                  gossamerRedOp_t op,
                                                  const gossamerCompression_t* compression,
                                                  gossamerComm_t comm, gossamerWork_t* work) {
  return start(calling(Collective::kAllReduce, sendbuff, recvbuff, count, datatype, op),
               compression, comm, work);
}

gossamerResult_t gossamerReduceScatterCompressed(const void* sendbuff, void* recvbuff,
                                                 size_t recvcount, gossamerDataType_t datatype,
                                                 gossamerRedOp_t op,
                                                 const gossamerCompression_t* compression,
                                                 gossamerComm_t comm) {
  return run(calling(Collective::kReduceScatter, sendbuff, recvbuff, recvcount, datatype, op),
             compression, comm);
}

gossamerResult_t gossamerAllGatherCompressed(const void* sendbuff, void* recvbuff, size_t sendcount,
                                             gossamerDataType_t datatype,
                                             const gossamerCompression_t* compression,
                                             gossamerComm_t comm) {
  return run(calling(Collective::kAllGather, sendbuff, recvbuff, sendcount, datatype, gossamerSum),
             compression, comm);
}

gossamerResult_t gossamerNeighborAverageCompressed(const void* sendbuff, void* recvbuff,
                                                   size_t count, gossamerDataType_t datatype,
                                                   gossamerGraph_t graph, uint64_t round,
                                                   const gossamerCompression_t* compression,
                                                   gossamerComm_t comm) {
  return run_around(
      calling(Collective::kNeighborAverage, sendbuff, recvbuff, count, datatype, gossamerSum),
      graph, round, compression, comm);
}

gossamerResult_t gossamerAllReduceResidualCount(size_t count, gossamerDataType_t datatype,
                                                gossamerRedOp_t op, int in_place,
                                                gossamerCodec_t codec, gossamerComm_t comm,
                                                uint64_t* floats) {
  return count_residual(calling(Collective::kAllReduce, nullptr, nullptr, count, datatype, op),
                        in_place, codec, comm, floats);
}

gossamerResult_t gossamerReduceScatterResidualCount(size_t recvcount, gossamerDataType_t datatype,
                                                    gossamerRedOp_t op, int in_place,
                                                    gossamerCodec_t codec, gossamerComm_t comm,
                                                    uint64_t* floats) {
  return count_residual(
      calling(Collective::kReduceScatter, nullptr, nullptr, recvcount, datatype, op), in_place,
      codec, comm, floats);
}

gossamerResult_t gossamerAllGatherResidualCount(size_t sendcount, gossamerDataType_t datatype,
                                                int in_place, gossamerCodec_t codec,
                                                gossamerComm_t comm, uint64_t* floats) {
  return count_residual(
      calling(Collective::kAllGather, nullptr, nullptr, sendcount, datatype, gossamerSum), in_place,
      codec, comm, floats);
}

}  // extern "C"
