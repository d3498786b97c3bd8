// A codec whose code is a row of blocks, each with numbers of its own: what is left to say is how a
// run is turned into them and back.
//
// Threads    All const; any thread.

#pragma once

#include "src/compress/factory.h"

namespace gossamer {

// kMismatch, unless `code` has the length and the numbers of `layout`; of the codec's codes, or of
// sums of them.
Status check_blocks(const Codec& codec, std::span<const std::byte> code, uint64_t count,
                    const BlockLayout& layout);

class BlockCodec : public Codec {
 public:
  CodecTraits traits() const override;
  uint64_t block() const final { return block_ == 0 ? 1 : block_; }
  uint64_t bytes_max(uint64_t count) const final { return layout(count).bytes(count); }
  Encoded encode(std::span<const float> values, const Draws& draws, std::span<std::byte> code,
                 std::span<std::byte> workspace) const final;
  Status check(std::span<const std::byte> code, uint64_t count) const final;
  void decode(std::span<const std::byte> code, std::span<float> into) const final;
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const final;

 protected:
  // A block of 0 is the whole run.
  BlockCodec(uint64_t block, uint64_t numbers, uint64_t bits)
      : block_(block), numbers_(numbers), bits_(bits) {}

  BlockLayout layout(uint64_t count) const {
    const uint64_t whole = count == 0 ? 1 : count;
    return {block_ == 0 || block_ > whole ? whole : block_, numbers_, bits_};
  }
  // Of the longest block in a run of `count`, for bounds.
  double longest(uint64_t count) const { return static_cast<double>(layout(count).block); }

 private:
  // Spans are as long as the layout says. Returns how many values are not finite.
  virtual uint64_t encode_run(const BlockLayout& layout, std::span<const float> values,
                              const Draws& draws, std::byte* code) const = 0;
  virtual void decode_run(const BlockLayout& layout, const std::byte* code,
                          std::span<float> into) const = 0;
  virtual void add_run(const BlockLayout& layout, const std::byte* code, float factor,
                       std::span<float> into) const = 0;

  uint64_t block_;
  uint64_t numbers_;
  uint64_t bits_;
};

// What is done with the runs of a codec of some form, as BlockCodec's functions for them say. They
// are compiled once per instruction set, and chosen when a codec is made.
template <class Form>
struct BlockLoops {
  uint64_t (*encode)(Form form, const BlockLayout& layout, const float* from, uint64_t count,
                     const Draws& draws, std::byte* code);
  void (*decode)(Form form, const BlockLayout& layout, const std::byte* code, uint64_t count,
                 float* into);
  void (*add)(Form form, const BlockLayout& layout, const std::byte* code, uint64_t count,
              float factor, float* into);
};

// A block codec that leaves its runs to such loops.
template <class Form>
class FormCodec : public BlockCodec {
 protected:
  FormCodec(uint64_t block, uint64_t numbers, uint64_t bits, Form form,
            const BlockLoops<Form>& loops)
      : BlockCodec(block, numbers, bits), form_(form), loops_(loops) {}

  const Form form_;

 private:
  uint64_t encode_run(const BlockLayout& layout, std::span<const float> values, const Draws& draws,
                      std::byte* code) const final {
    return loops_.encode(form_, layout, values.data(), values.size(), draws, code);
  }
  void decode_run(const BlockLayout& layout, const std::byte* code,
                  std::span<float> into) const final {
    loops_.decode(form_, layout, code, into.size(), into.data());
  }
  void add_run(const BlockLayout& layout, const std::byte* code, float factor,
               std::span<float> into) const final {
    loops_.add(form_, layout, code, into.size(), factor, into.data());
  }

  const BlockLoops<Form> loops_;
};

}  // namespace gossamer
