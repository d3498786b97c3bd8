// A Stream is a queue of work on host memory: calls given to it return at once, and are carried out
// one after another in their order, beside the caller.
//
//   gossamer::Stream stream;
//   {
//     const gossamer::Stream::Use on(stream);
//     comm.all_reduce(std::span<float>(x));                       // returns at once
//     comm.send(x.data(), x.size(), DataType::kFloat32, 1);       // after it
//   }
//   gossamer::Status all = stream.synchronize();
//
// Order      Within a stream, that of the calls. Of calls on one communicator, too, whatever
//            streams they are given to: what two streams do on different communicators is
//            independent.
// Threads    Any. Work is done by a thread of the stream's own, which sleeps when there is none.
// Ownership  Buffers are lent until synchronize(), or query() that says true. A communicator's end
//            ends its calls in streams with kAborted and waits until the streams have seen it.
// Blocking   synchronize(), and the destructor, which finishes what is in the stream.

#pragma once

#include <functional>
#include <memory>

#include "gossamer/export.h"
#include "gossamer/status.h"

namespace gossamer {

class GOSSAMER_API Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Waits for all that was given to it before; the first failure since the last synchronize().
  // Not from a function that runs in the stream.
  Status synchronize();
  // Whether all of it is done, well or not. Never blocks.
  bool query() const;
  // Runs `function` when everything before it is done. It must not throw.
  void call(std::function<void()> function);

  // As long as one exists, this thread's blocking calls are given to `stream`; within a group, the
  // calls noted meanwhile are. null: they are carried out by the caller, as without a stream.
  class GOSSAMER_API Use {
   public:
    explicit Use(Stream& stream) : Use(&stream) {}
    explicit Use(Stream* stream);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Stream* before_;
  };

 private:
  friend struct CallGroup;
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gossamer
