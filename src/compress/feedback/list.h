// Every kind of error feedback: one file here, one line in this list.

#pragma once

#include "gossamer/feedback.h"
#include "src/parameters.h"

namespace gossamer {

struct FeedbackFactory {
  const char* name;
  const char* what;        // half a sentence for people
  const char* parameters;  // as a codec's
  bool any_role;           // or only Role::kSender
  Result<std::unique_ptr<Feedback>> (*create)(Parameters& parameters, StateStore& store, Role role);
};

// clang-format off
#define GOSSAMER_FEEDBACKS(ENTRY)  \
  ENTRY(ef14)                      \
  ENTRY(ef21)                      \
  ENTRY(ef21_sgdm)                 \
  ENTRY(dgc)
// clang-format on

#define GOSSAMER_DECLARE(name) extern const FeedbackFactory name##_feedback;
GOSSAMER_FEEDBACKS(GOSSAMER_DECLARE)
#undef GOSSAMER_DECLARE

// output = mean, where the optimiser takes the mean as it is; they may be one.
void pass_on(std::span<const float> mean, std::span<float> output);
// By which what was dropped is multiplied when the rate changes.
//   kInvalidArgument  rates that are not positive
Result<float> factor_of_rates(double before, double after);

// Gives a new one its name.
struct FeedbackMaker {
  static void introduce(Feedback* feedback, std::string name) { feedback->name_ = std::move(name); }
};

}  // namespace gossamer
