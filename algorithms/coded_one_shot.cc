// One-shot all-reduce of codes: everybody sends the code of everything to everybody; each rank
// decodes and sums all of them.
//   Source   the all-gather of sparsified gradients of Lin et al., "Deep gradient compression:
//            reducing the communication bandwidth for distributed training", ICLR 2018.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 codes of the buffer, per rank.
//   Scratch  codes of N buffers; fp32 accumulators of the buffer where the elements are others.
//   Needs    a codec whose codes are decoded to be added, no votes; any N, any count.
//   Bits     the same on all ranks: all decode the same codes, a rank its own too, in rank order.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const CodePlaces places{shape.size};
  const Slice whole = shape.whole();
  const Slice own = b.code(shape.count, places.to(shape.rank));
  b.encode(input_of(whole), own, whole, Builder::Residual::kOfElements);
  send_to_others(shape, own, b);
  const auto code_from = [&](Rank rank) {
    return rank == shape.rank ? own : b.code(shape.count, places.from(rank));
  };
  take_other_parts(shape, code_from, b);
  b.settle(sum_codes(shape, whole, code_from, b), whole);
}

}  // namespace

const Algorithm coded_one_shot = {
    "coded_one_shot", Collective::kAllReduce, true, has_plain_codec, rounds, emit, true};

}  // namespace gossamer
