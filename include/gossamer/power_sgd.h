// PowerSGD: gradients of matrices as products of two thin ones, which are all that travels.
//
//   auto power = PowerSgd::create({.rank = 4}, {{parameter_key("conv1"), 64, 147}, ...});
//   power.value()->step(comm, gradient, mean);   // the parameters one after another, in this order
//
// For each matrix M = gradient + residual of n rows and m columns, with Q of the step before:
//
//   P = sum over ranks of M Q, made orthonormal;  Q = mean over ranks of M^T P;  mean = P Q^T
//
// and each rank keeps M - P Q_own^T, Q_own being its own M^T P. Vectors travel as they are.
//
// Sends      Two all-reduces per step, whatever the number of parameters: all P and the vectors,
//            then all Q. wire_bytes() together.
// Bits       The same mean on all ranks, also on different machines: P and Q are, by the
//            all-reduces, and what follows is done in one order with one rounding per operation.
// Residual   Local, as above. The aggregate form, M - P Q^T, gives the same means in exact
//            arithmetic, but grows with every step by what ranks differ in, and what a rank that
//            leaves takes along is not small.
// Threads    One thread at a time.
// Memory     The residual twice; P, Q, and Q once more. All made by create().
// Source     Vogels, Karimireddy and Jaggi, "PowerSGD: practical low-rank gradient compression for
//            distributed optimization", NeurIPS 2019.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/feedback.h"

namespace gossamer {

// A parameter as PowerSGD sees it: tensors have their first dimension as rows, the others together
// as columns. One column: a vector.
struct MatrixShape {
  ParameterKey key = 0;
  uint64_t rows = 0;
  uint64_t columns = 1;
};

class GOSSAMER_API PowerSgd {
 public:
  enum class Residual : uint8_t { kLocal, kAggregate };
  struct Options {
    uint64_t rank = 4;       // of the products; never more than a matrix has rows or columns
    double ratio = 0;        // not 0: each matrix's rank is what makes it so many times shorter
    double rate_min = 2;     // matrices that do not become so many times shorter stay as they are
    double epsilon = 1e-8;   // a column this small beside what it was is replaced by a random one
    bool warm_start = true;  // Q of the step before; or random ones in every step
    Residual residual = Residual::kLocal;
    uint64_t seed = 1;  // of random numbers; the same on all ranks
  };
  // "powersgd:rank=4,ratio=0,min_rate=2,warm_start=on,residual=local,seed=1", or some of it.
  //   kInvalidArgument  no such parameter or value; the message lists what there is
  static Result<Options> options(const std::string& text);

  //   kInvalidArgument  a rank of 0, numbers out of range, a shape without elements, a key twice
  static Result<std::unique_ptr<PowerSgd>> create(const Options& options,
                                                  std::span<const MatrixShape> shapes);
  ~PowerSgd();

  // mean = the mean over ranks of gradient + residual, as far as it has this rank; the two are
  // apart or the same. After an error the state is as before, and so the step can be repeated.
  //   kInvalidArgument  spans that have not count() elements
  //   as Communicator::all_reduce()
  Status step(Communicator& comm, std::span<const float> gradient, std::span<float> mean);
  // The same, but what is kept is only staged: commit() or rollback() of the store follows.
  Status stage(Communicator& comm, std::span<const float> gradient, std::span<float> mean);
  // The same of parameters that lie apart: gradients[i] and means[i] are those of shape i.
  Status stage(Communicator& comm, std::span<const float* const> gradients,
               std::span<float* const> means);

  // Of the last step() or stage().
  bool means_are_finite() const { return means_are_finite_; }

  // After stage(), of a parameter whose mean is of no use to any rank: what is kept of it will be
  // what it was. All ranks say so of the same ones, as its Q is the same everywhere.
  void leave_out(size_t shape);

  uint64_t count() const { return count_; }  // elements of all parameters
  uint64_t wire_bytes() const;               // of P, Q and what stays as it is,
  // also without making one
  static uint64_t wire_bytes(const Options& options, std::span<const MatrixShape> shapes);
  uint64_t rank_of(size_t shape) const;  // 0: it stays as it is
  // Residuals (Role::kSender) and Q (Role::kFactor) by key: to save, load and hand over.
  StateStore& store() { return store_; }

 private:
  struct Matrix {
    MatrixShape shape;
    uint64_t rank;      // 0: stays as it is
    uint64_t first;     // element in gradient and mean
    uint64_t residual;  // where its residual begins,
    uint64_t p;         // its P, or itself where it stays as it is,
    uint64_t q;         // and its Q
  };
  explicit PowerSgd(const Options& options) : options_(options) {}
  Status lay_out(std::span<const MatrixShape> shapes);
  void draw(uint64_t salt, std::span<float> into) const;
  void first_half(std::span<const float* const> gradients);
  void second_half();
  void finish(Rank ranks, std::span<float* const> means);

  Options options_;
  std::vector<Matrix> matrices_;
  std::vector<const float*> gradients_;  // of what lies in one piece
  std::vector<float*> means_;
  bool means_are_finite_ = true;
  uint64_t count_ = 0;
  std::vector<float> p_;
  std::vector<float> own_q_;
  StateStore store_;
};

}  // namespace gossamer
