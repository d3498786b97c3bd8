// A client of NCCL's API as others write them: what nccl-tests' common part and tests call, on host
// memory, with windows and the newest call as weak references. One process, all ranks by
// ncclCommInitAll; each call is run, timed and checked. Compiles with NCCL's header and with ours.
//
//   usage    nccl_client [ranks [bytes]]

#include <nccl.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

extern "C" {
#pragma weak ncclCommWindowRegister
#pragma weak ncclCommWindowDeregister
#pragma weak ncclAlltoAll
}

namespace {

#define CHECK(call)                                                           \
  do {                                                                        \
    const ncclResult_t result = (call);                                       \
    if (result != ncclSuccess) {                                              \
      std::fprintf(stderr, "%s: %s: %s\n", #call, ncclGetErrorString(result), \
                   ncclGetLastError(nullptr));                                \
      std::exit(1);                                                           \
    }                                                                         \
  } while (0)

std::vector<ncclComm_t> comms;

// Runs one call per rank as a group, and says how long it took.
void together(const char* name, const std::function<ncclResult_t(size_t)>& call) {
  const auto start = std::chrono::steady_clock::now();
  CHECK(ncclGroupStart());
  for (size_t rank = 0; rank < comms.size(); ++rank) CHECK(call(rank));
  CHECK(ncclGroupEnd());
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  for (ncclComm_t comm : comms) {
    ncclResult_t state = ncclSuccess;
    CHECK(ncclCommGetAsyncError(comm, &state));
    CHECK(state);
  }
  std::printf("%-14s %10.1f us\n", name, took.count());
}

void expect(float got, float wanted, const char* what) {
  if (got == wanted) return;
  std::fprintf(stderr, "%s: %f instead of %f\n", what, static_cast<double>(got),
               static_cast<double>(wanted));
  std::exit(1);
}

// One buffer per rank, from the library's allocator, registered inside a group as nccl-tests do.
struct Buffers {
  std::vector<float*> data;
  std::vector<void*> handles;
  std::vector<ncclWindow_t> windows;

  explicit Buffers(size_t bytes)
      : data(comms.size()), handles(comms.size()), windows(comms.size()) {
    CHECK(ncclGroupStart());
    for (size_t r = 0; r < comms.size(); ++r) {
      void* memory = nullptr;
      CHECK(ncclMemAlloc(&memory, bytes));
      data[r] = static_cast<float*>(memory);
      CHECK(ncclCommRegister(comms[r], memory, bytes, &handles[r]));
      if (ncclCommWindowRegister != nullptr) {
        CHECK(
            ncclCommWindowRegister(comms[r], memory, bytes, &windows[r], NCCL_WIN_COLL_SYMMETRIC));
      }
    }
    CHECK(ncclGroupEnd());
  }
  ~Buffers() {
    for (size_t r = 0; r < comms.size(); ++r) {
      if (ncclCommWindowDeregister != nullptr) {
        CHECK(ncclCommWindowDeregister(comms[r], windows[r]));
      }
      CHECK(ncclCommDeregister(comms[r], handles[r]));
      CHECK(ncclMemFree(data[r]));
    }
  }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
};

void run(size_t share) {
  const size_t n = comms.size();
  Buffers in(n * share * sizeof(float));
  Buffers out(n * share * sizeof(float));
  for (size_t r = 0; r < n; ++r) {
    for (size_t i = 0; i < n * share; ++i) in.data[r][i] = static_cast<float>(r + i % 7);
  }
  const auto total = [&](size_t i) { return static_cast<float>(n * (n - 1) / 2 + n * (i % 7)); };
  const size_t last = share - 1;
  together("AllReduce", [&](size_t r) {
    return ncclAllReduce(in.data[r], out.data[r], n * share, ncclFloat, ncclSum, comms[r], nullptr);
  });
  expect(out.data[n - 1][last], total(last), "AllReduce");
  together("ReduceScatter", [&](size_t r) {
    return ncclReduceScatter(in.data[r], out.data[r], share, ncclFloat, ncclSum, comms[r], nullptr);
  });
  expect(out.data[n - 1][last], total((n - 1) * share + last), "ReduceScatter");
  together("AllGather", [&](size_t r) {
    return ncclAllGather(in.data[r], out.data[r], share, ncclFloat, comms[r], nullptr);
  });
  expect(out.data[0][n * share - 1], in.data[n - 1][last], "AllGather");
  together("Broadcast", [&](size_t r) {
    return ncclBroadcast(in.data[r], out.data[r], share, ncclFloat, 0, comms[r], nullptr);
  });
  expect(out.data[n - 1][last], in.data[0][last], "Broadcast");
  together("Reduce", [&](size_t r) {
    return ncclReduce(in.data[r], out.data[r], share, ncclFloat, ncclMax, 0, comms[r], nullptr);
  });
  expect(out.data[0][last], in.data[n - 1][last], "Reduce");
  if (ncclAlltoAll != nullptr) {
    together("AlltoAll", [&](size_t r) {
      return ncclAlltoAll(in.data[r], out.data[r], share, ncclFloat, comms[r], nullptr);
    });
    expect(out.data[0][n * share - 1], in.data[n - 1][last], "AlltoAll");
  }
  together("Send, Recv", [&](size_t r) {
    CHECK(ncclSend(in.data[r], share, ncclFloat, static_cast<int>((r + 1) % n), comms[r], nullptr));
    return ncclRecv(out.data[r], share, ncclFloat, static_cast<int>((r + n - 1) % n), comms[r],
                    nullptr);
  });
  expect(out.data[0][last], in.data[n - 1][last], "Send, Recv");
  ncclRedOp_t op;
  together("PreMulSum", [&](size_t r) {
    float factor = 2;
    CHECK(ncclRedOpCreatePreMulSum(&op, &factor, ncclFloat, ncclScalarHostImmediate, comms[r]));
    const ncclResult_t called =
        ncclAllReduce(in.data[r], out.data[r], share, ncclFloat, op, comms[r], nullptr);
    CHECK(ncclRedOpDestroy(op, comms[r]));
    return called;
  });
  expect(out.data[0][last], 2 * total(last), "PreMulSum");
}

}  // namespace

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 2;
  const size_t bytes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 4096;
  int version = 0;
  CHECK(ncclGetVersion(&version));
  std::printf("# library %d, header %d, %d ranks\n", version, NCCL_VERSION_CODE, ranks);
  if (ranks < 1 || bytes < sizeof(float) * static_cast<size_t>(ranks)) return 2;
  comms.resize(static_cast<size_t>(ranks));
  CHECK(ncclCommInitAll(comms.data(), ranks, nullptr));
  run(bytes / sizeof(float) / comms.size());
  for (ncclComm_t comm : comms) CHECK(ncclCommDestroy(comm));
  std::printf("# all right\n");
  return 0;
}
