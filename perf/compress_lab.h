// What codecs do to a vector, measured here, and what that is worth on a link, computed.
//
// Units      Bytes and seconds; GB/s are 10^9 bytes of fp32 per second.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/status.h"

namespace gossamer {

// "gaussian"; "laplace"; or "gradient": stretches of 4096 elements, as layers are, whose scales are
// spread over some powers of two, and in which most values are far smaller than the few large ones.
//   kInvalidArgument  there is no such kind
Result<std::vector<float>> generated_data(const std::string& kind, uint64_t count, uint64_t seed);

// A file of nothing but fp32 in this machine's byte order.
//   kSystem           it cannot be read
//   kInvalidArgument  it is empty, is not whole floats, or is longer than this command takes
Result<std::vector<float>> read_data(const std::string& path);

// "1Gbit", "100Mbit", "2.5Gbit", "56kbit" in bytes per second.
//   kInvalidArgument  it is none
Result<double> parse_link(const std::string& text);

// Time of an all-reduce over links of this speed from each rank.
struct LabLink {
  double bytes_per_second = 125e6;  // on the wire
  double latency = 50e-6;           // of a message, one way
  int ranks = 4;
};
// What TCP leaves of the wire's speed: 1448 bytes of 1514 in each packet.
inline constexpr double kGoodput = 1448.0 / 1514.0;

struct LabRow {
  std::string codec;  // "none" is fp32 itself
  bool gathered = false;
  double bytes = 0;      // of the code, per element
  double sum_bytes = 0;  // of a sum of codes that nobody decodes before; 0: there are none
  double error = 0;      // squared norm of the error / squared norm
  double encode = 0;     // seconds per element; all three
  double decode = 0;
  double add = 0;
  double merge = 0;  // a code into such a sum
  uint64_t not_finite = 0;

  double ratio() const { return 4 / bytes; }
  // Codes of dense codecs: every rank encodes a part for each, each owner adds its parts up,
  // encodes the sum, and all decode it. Of sparse ones: every rank gets every code, and adds it.
  // Of codes that are added as they are: every rank encodes a part for each, each owner adds codes,
  // and all decode the sum. fp32: a ring, whose additions are not counted.
  double all_reduce_seconds(double count, const LabLink& link) const;
};

LabRow dense_row();
// Medians of some turns; sums are of the codes of `ranks` ranks.
LabRow measure_codec(const Codec& codec, const std::vector<float>& values, int ranks);

// Error over ratio, and time of an all-reduce over size.
std::string lab_plot(const std::vector<LabRow>& rows, const LabLink& link,
                     const std::string& title);

}  // namespace gossamer
