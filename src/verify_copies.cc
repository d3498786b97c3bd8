// Copies of calls that have a codec: whatever ranks hold an element of some rank's input, they have
// the same bits of it, and where it was encoded these are what a code decodes to: what that loses
// is in the residual.

#include "src/verify_parts.h"
#include "src/verify_symbols.h"

namespace gossamer {

std::string name_element(Rank rank, uint64_t element) {
  return "rank " + std::to_string(rank) + " output element " + std::to_string(element);
}

std::string check_copies(const Proof& proof, const std::vector<ProvedMemory>& memories,
                         const EncodedValues& encoded) {
  const uint64_t inputs = proof.call.count * shares_of(proof.call.collective, proof.size);
  // By rank and element of its input: the tree of whoever holds it; 0: nobody was seen to yet.
  std::vector<Intervals<uint64_t>> trees(static_cast<size_t>(proof.size));
  for (Intervals<uint64_t>& of : trees) of.reset(inputs, 0);
  std::string wrong;
  for (Rank r = 0; r < proof.size; ++r) {
    const Intervals<Value>& output =
        memories[static_cast<size_t>(r)][static_cast<size_t>(Buffer::kOutput)];
    for (const Promise& promise : promises_of(proof, r)) {
      if (promise.is_kept) continue;
      const uint64_t offset = promise.input_first - promise.first;
      Intervals<uint64_t>& of = trees[static_cast<size_t>(promise.from)];
      const auto compare = [&](uint64_t first, uint64_t end, const Value& v) {
        if (encoded.have(promise.from, first, end, v) && wrong.empty()) {
          wrong = name_element(r, first) + " is what was encoded, without what its code loses";
        }
        of.change(first + offset, end + offset, [&](uint64_t& tree) {
          if (tree == 0) tree = v.hash;
          if (tree == v.hash || !wrong.empty()) return;
          wrong = name_element(r, first) + " has other bits than a lower rank has of it";
        });
      };
      output.read(promise.first, promise.first + promise.count, compare);
    }
  }
  return wrong;
}

}  // namespace gossamer
