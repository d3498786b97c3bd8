// The list of parameters that a gradient hook was made with: checked, counted, found by key.
//
// Threads    Constant after make().
// Units      Counts are elements.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gossamer/gradient_hook.h"

namespace gossamer {

// FNV-1a (Fowler, Noll and Vo, 1991), over words: tells lists that differ by accident.
class Digest {
 public:
  void add(uint64_t word) {
    for (int shift = 0; shift < 64; shift += 8) {
      value_ = (value_ ^ (word >> shift & 0xFF)) * 0x100000001B3;
    }
  }
  void add(std::string_view text) {
    add(text.size());
    for (const char c : text) value_ = (value_ ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xCBF29CE484222325;
};

class ParameterList {
 public:
  ParameterList() = default;
  ParameterList(ParameterList&&) = default;
  ParameterList& operator=(ParameterList&&) = default;

  //   kInvalidArgument  see GradientHook::create()
  static Result<ParameterList> make(std::vector<GradientHook::Parameter> list);

  size_t size() const { return list_.size(); }
  const std::string& key(size_t i) const { return list_[i].key; }
  const std::vector<uint64_t>& shape(size_t i) const { return list_[i].shape; }
  DataType type(size_t i) const { return list_[i].type; }
  uint64_t count(size_t i) const { return counts_[i]; }
  uint64_t bytes(size_t i) const { return counts_[i] * size_of(type(i)); }
  // Of its key, shape and type.
  uint64_t digest(size_t i) const;
  // "'conv1.weight' (64x3x7x7 float32)"
  std::string describe(size_t i) const;

  //   kInvalidArgument  no parameter has this key
  Result<size_t> find(std::string_view key) const;
  // Allocates nothing; size() if there is none.
  size_t find_or_end(std::string_view key) const;

 private:
  std::vector<GradientHook::Parameter> list_;
  std::vector<uint64_t> counts_;
  std::unordered_map<std::string_view, uint32_t> index_;  // of keys in list_, which stays
};

}  // namespace gossamer
