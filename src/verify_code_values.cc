#include "src/verify_code_values.h"

#include <utility>

#include "gossamer/code_sums.h"

namespace gossamer {
namespace {

constexpr const char* kNoCode = "reads bytes that are no such code, or of several";

// Whether both are of the same elements, in the same runs.
bool same_elements(const Fragments& a, const Fragments& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].first != b[i].first || a[i].end != b[i].end || a[i].value.shift != b[i].value.shift) {
      return false;
    }
  }
  return true;
}

}  // namespace

Fragments ProvedCodes::keep(ProvedCode made) {
  const Value value = {codes_.size(), made.hash, 0, true, false, true};
  const uint64_t bytes = made.bytes;
  codes_.push_back(std::move(made));
  return {{0, bytes, value}};
}

// The code that these are the bytes of, all of them and from the first on.
const ProvedCode* ProvedCodes::whole(const Fragments& bytes, uint64_t length, CodeKind kind) const {
  if (bytes.empty()) return nullptr;
  const Value& first = bytes.front().value;
  for (const Fragment& f : bytes) {
    if (!f.value.coded || f.value.contributors != first.contributors || f.value.shift != 0) {
      return nullptr;
    }
  }
  const ProvedCode& code = codes_[first.contributors];
  return code.kind == kind && code.bytes == length ? &code : nullptr;
}

Fragments ProvedCodes::encode(const Step& step, uint64_t id, const Fragments& values) {
  ProvedCode made;
  made.kind = step.verb == Verb::kPack      ? CodeKind::kPacked
              : step.verb == Verb::kMeasure ? CodeKind::kNumbers
                                            : CodeKind::kCode;
  made.values = values;
  made.count = step.count;
  made.bytes = step.code_count;
  made.hash = mix(0xa0761d6478bd642fU + mix(id));
  return keep(std::move(made));
}

const char* ProvedCodes::decode(const Step& step, Fragments* bytes) const {
  const CodeKind kind = step.verb == Verb::kUnpack      ? CodeKind::kPacked
                        : step.verb == Verb::kDecodeSum ? CodeKind::kSum
                                                        : CodeKind::kCode;
  const ProvedCode* const code = whole(*bytes, step.code_count, kind);
  if (code == nullptr) return kNoCode;
  if (code->count != step.count) return "decodes a code of another length";
  *bytes = code->values;
  for (Fragment& f : *bytes) {
    if (kind == CodeKind::kSum && f.value.contributors != everyone_) {
      return "decodes a sum that lacks a rank's code";
    }
    if (kind == CodeKind::kCode)
      f.value.hash = mix(f.value.hash + 0xe7037ed1a0b428dbU * code->hash);
  }
  return nullptr;
}

uint64_t ProvedCodes::number_bytes(const Step& step) const {
  return proof_.call.codec->sums()->agreed_count(step.count) * sizeof(float);
}

const char* ProvedCodes::agree(const Step& step, const Fragments& from, const Fragments& into,
                               Fragments* made) {
  const ProvedCode* const theirs = whole(from, step.code_count, CodeKind::kNumbers);
  const ProvedCode* const mine = whole(into, step.code_count, CodeKind::kNumbers);
  if (theirs == nullptr || mine == nullptr) return kNoCode;
  if (mine->count != step.count || !same_elements(theirs->values, mine->values)) {
    return "compares numbers of other elements";
  }
  ProvedCode both = *mine;
  both.hash += theirs->hash;  // the largest of several is the same in any order
  for (size_t i = 0; i < both.values.size(); ++i) {
    both.values[i].value.contributors += theirs->values[i].value.contributors;
  }
  *made = keep(std::move(both));
  return nullptr;
}

const char* ProvedCodes::encode_agreed(const Step& step, uint64_t id, const Fragments& values,
                                       const Fragments& numbers, Fragments* made) {
  ProvedCode code;
  code.values = values;
  code.count = step.count;
  code.bytes = step.code_count - number_bytes(step);
  code.hash = mix(0xa0761d6478bd642fU + mix(id));
  if (number_bytes(step) > 0) {
    const ProvedCode* const by = whole(numbers, number_bytes(step), CodeKind::kNumbers);
    if (by == nullptr) return kNoCode;
    if (!same_elements(by->values, values)) return "encodes by numbers of other elements";
    for (const Fragment& f : by->values) {
      if (f.value.contributors != everyone_) return "encodes by numbers that a rank has no part in";
    }
    code.agreed = by->hash;
  }
  *made = keep(std::move(code));
  return nullptr;
}

const char* ProvedCodes::take_code(const Step& step, Fragments* bytes) {
  const ProvedCode* const code = whole(*bytes, step.code_count, CodeKind::kCode);
  if (code == nullptr || code->count != step.count) return kNoCode;
  if (code->agreed == 0 && number_bytes(step) > 0) return "adds a code whose numbers are its own";
  agreed_ = code->agreed;
  *bytes = code->values;
  for (Fragment& f : *bytes) f.value.hash = mix(f.value.hash + 0xe7037ed1a0b428dbU * code->hash);
  return nullptr;
}

const char* ProvedCodes::take_sum(const Step& step, Fragments* bytes) {
  const ProvedCode* const sum = whole(*bytes, step.sum_count, CodeKind::kSum);
  if (sum == nullptr || sum->count != step.count) return kNoCode;
  if (sum->agreed != agreed_) return "adds a code that was made by other numbers";
  *bytes = sum->values;
  return nullptr;
}

Fragments ProvedCodes::make_sum(const Step& step, const Fragments& values) {
  ProvedCode sum;
  sum.kind = CodeKind::kSum;
  sum.values = values;
  sum.count = step.count;
  sum.bytes = step.sum_count;
  sum.agreed = agreed_;
  return keep(std::move(sum));
}

}  // namespace gossamer
