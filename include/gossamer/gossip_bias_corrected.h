// Methods whose ranks may have different data: at a constant rate they reach the optimum of the sum
// of all losses itself, where DecentralizedSgd stays away from it, or come much nearer.
//
// Shapes, Threads, Ownership, Memory, Errors and Saving are those of gossamer/gossip_methods.h, and
// so are the names in the rules, with W the mixing matrix and k the step; but here the gradient may
// not be null, and must be the one at x as the last step left it, for what these methods keep is
// how gradients change. All of them need rows and columns that sum to 1, and keep, but for the
// gradients, the mean of x.
//
// reset()    Forgets all but the options, as after create(): the next step is a first one, from x
//            as it is. After a change of membership, of the graph, or a lost message, on all ranks
//            at once: what the others keep would go on to account for a rank that is gone.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gossamer/gossip.h"

namespace gossamer {

// Gradient tracking: y follows the mean of all ranks' gradients.
//
//   kAdaptThenCombine    x <- W (x - g y);   y <- W (y + gradient(k + 1) - gradient(k))
//   kAdaptWhileCombine   x <- W x - g y;     y <- W y + gradient(k + 1) - gradient(k)
//
// from y = the first gradient.
//
// Sends      x and y to each neighbor of the round; adapt-then-combine in two messages, one after
//            the other (x alone in the first step), adapt-while-combine in one.
// Needs      Rounds may differ, and be directed. Smaller rates than exact diffusion and EXTRA bear,
//            adapt-while-combine still smaller ones where W has negative eigenvalues: on a
//            hypercube of 16 up to 0.3 and 0.1 divided by the curvature.
// Memory     y and the last gradient; adapt-while-combine twice as much.
// Keeps      The sum of y over ranks, which is that of the last gradients, to the rounding of
//            `type`.
// Source     Nedic, Olshevsky and Shi, "Achieving geometric convergence for distributed
//            optimization over time-varying graphs", SIAM Journal on Optimization 27, 2017; Xu,
//            Zhu, Soh and Xie, "Augmented distributed gradient methods for multi-agent optimization
//            under uncoordinated constant stepsizes", CDC 2015, for adapt-then-combine.
class GOSSAMER_API GradientTracking {
 public:
  enum class Order : uint8_t { kAdaptThenCombine = 0, kAdaptWhileCombine = 1 };
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
    Order order = Order::kAdaptThenCombine;
  };
  static Result<std::unique_ptr<GradientTracking>> create(const Options& options);

  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);
  void reset();

  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit GradientTracking(const Options& options);
  Options options_;
  std::vector<std::byte> tracked_;   // y; of adapt-while-combine W y
  std::vector<std::byte> gradient_;  // the last one
  std::vector<std::byte> both_;      // x and y in one message
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
};

// Exact diffusion, and D2: the last step is continued, but for what gossip did to it.
//
//   p = x - g gradient;  x <- V (p + x - the last step's p), in the first step x <- V p
//
// with V = (W + I) / 2 for exact diffusion and V = W for D2: x(k + 1) = V (2 x(k) - x(k - 1) -
// g (gradient(k) - gradient(k - 1))).
//
// Sends      x, count elements, to each neighbor.
// Needs      A graph whose rounds are all the same, symmetric; always the same one, see reset().
//            D2: least eigenvalue of W above -1/3, or values grow without bound. A ring of an even
//            number of ranks has -1/3, a hypercube of 16 -0.6: both are refused. Exact diffusion:
//            above -1, which every graph has whose ranks keep some of their own values.
// Memory     p; of exact diffusion a vector more.
// Source     Yuan, Ying, Zhao and Sayed, "Exact diffusion for distributed optimization and
//            learning", IEEE Transactions on Signal Processing 67, 2019; Tang, Lian, Yan, Zhang and
//            Liu, "D2: decentralized training over decentralized data", ICML 2018.
class GOSSAMER_API ExactDiffusion {
 public:
  enum class Form : uint8_t { kExactDiffusion = 0, kD2 = 1 };
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
    Form form = Form::kExactDiffusion;
    bool any_spectrum = false;  // of experiments: no eigenvalue is refused
  };
  static Result<std::unique_ptr<ExactDiffusion>> create(const Options& options);

  //   kInvalidArgument  an eigenvalue as above, of at most 1024 ranks; of more, a rank that keeps
  //                     so little of its own value that it might be one; another graph than in the
  //                     last step
  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);
  void reset();

  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit ExactDiffusion(const Options& options);
  Options options_;
  std::vector<std::byte> adapted_;  // p
  std::vector<std::byte> mixed_;
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
  uint64_t graph_ = 0;  // identity of the one that p belongs to; 0 before the first step
};

// EXTRA: D-PSGD whose error is subtracted again.
//
//   x(1) = W x(0) - g gradient(0)
//   x(k + 1) = (I + W) x(k) - (I + W) / 2 x(k - 1) - g (gradient(k) - gradient(k - 1))
//
// Sends      x, count elements, to each neighbor; the gradient is not part of it.
// Needs      As exact diffusion, and rates a little smaller.
// Memory     Two vectors.
// Source     Shi, Ling, Wu and Yin, "EXTRA: an exact first-order algorithm for decentralized
//            consensus optimization", SIAM Journal on Optimization 25, 2015.
class GOSSAMER_API Extra {
 public:
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
  };
  static Result<std::unique_ptr<Extra>> create(const Options& options);

  //   kInvalidArgument  a least eigenvalue of -1, as for ExactDiffusion; another graph than in the
  //                     last step
  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);
  void reset();

  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit Extra(const Options& options);
  Options options_;
  std::vector<std::byte> last_;  // (x + W x) / 2 - g gradient, of the last step
  std::vector<std::byte> mixed_;
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
  uint64_t graph_ = 0;
};

// QG-DSGDm: D-PSGD with momentum, of the way that values have really gone instead of the own
// gradients. Its bias is several times smaller than that of D-PSGD at the same g / (1 - b), and not
// 0.
//
//   x' <- x;  x <- W (x - g (b m + gradient));  m <- u m + (1 - u) (x' - x) / g
//
// with b the momentum and u its decay.
//
// Sends      x, count elements, to each neighbor of the round.
// Needs      Rounds may differ, and be directed. A positive rate.
// Memory     Two vectors: m, x'.
// Source     Lin, Karimireddy, Stich and Jaggi, "Quasi-global momentum: accelerating decentralized
//            deep learning on heterogeneous data", ICML 2021.
class GOSSAMER_API QuasiGlobalMomentum {
 public:
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
    double momentum = 0.9;               // b, in [0, 1)
    double decay = 0.9;                  // u, in [0, 1)
  };
  static Result<std::unique_ptr<QuasiGlobalMomentum>> create(const Options& options);

  //   kInvalidArgument  a rate that is not positive
  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);
  void reset();

  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit QuasiGlobalMomentum(const Options& options);
  Options options_;
  std::vector<std::byte> momentum_;  // m
  std::vector<std::byte> before_;    // x'
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
};

}  // namespace gossamer
