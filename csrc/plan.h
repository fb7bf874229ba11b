// Which steps each row of a batch takes, worked out from lengths, mask and resets.
#pragma once
#include <algorithm>
#include <numeric>
#include <vector>

#include "call.h"

namespace longspan {

// A (T, B) table of flags in the user's memory, or none.
struct Flags {
  const uint8_t* p = nullptr;
  int64_t t_step = 0, b_step = 0;
  bool at(int64_t t, int64_t b) const { return p[t * t_step + b * b_step] != 0; }
};

class PlanStore {
 public:
  Plan plan = {};

  // time_major: row t * B + b of the user's tensors, else b * T + t. Backwards: every row from its last step to its first.
  PlanStore(int64_t T, int64_t B, const int64_t* lengths, Flags mask, Flags reset, bool backwards, bool time_major)
      : T_(T), B_(B), backwards_(backwards), time_major_(time_major), lengths_(lengths) {
    count_steps(mask);
    sort_rows();
    place(mask, reset);
    plan.B = B, plan.T = T, plan.steps = int64_t(offset_.size()) - 1, plan.total = offset_.back();
    plan.order = order_.data(), plan.count = count_.data(), plan.offset = offset_.data(), plan.row = row_.data();
    plan.reset = any_reset_ ? reset_.data() : nullptr;
    plan.last = any_last_ ? last_.data() : nullptr;
    plan.carried = carried_.data(), plan.from = from_.data(), plan.carried_n = int64_t(carried_.size());
  }

 private:
  int64_t T_, B_;
  bool backwards_, time_major_;
  const int64_t* lengths_;
  std::vector<int32_t> order_, count_, steps_;
  std::vector<int64_t> offset_, row_, carried_, from_;
  std::vector<uint8_t> reset_, last_;
  bool any_reset_ = false, any_last_ = false;

  int64_t length(int64_t b) const { return lengths_ ? lengths_[b] : T_; }
  int64_t time(int64_t b, int64_t i) const { return backwards_ ? length(b) - 1 - i : i; }
  int64_t user_row(int64_t t, int64_t b) const { return time_major_ ? t * B_ + b : b * T_ + t; }

  void count_steps(Flags mask) {
    steps_.resize(size_t(B_));
    for (int64_t b = 0; b < B_; b++) {
      int64_t n = length(b);
      if (mask.p) {
        n = 0;
        for (int64_t t = 0; t < length(b); t++) n += mask.at(t, b);
      }
      steps_[size_t(b)] = int32_t(n);
    }
  }

  void sort_rows() {
    order_.resize(size_t(B_));
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](int a, int b) { return steps_[size_t(a)] > steps_[size_t(b)]; });
    for (int32_t b : order_) count_.push_back(steps_[size_t(b)]);
    const int64_t longest = B_ ? count_[0] : 0;
    offset_.assign(size_t(longest) + 1, 0);
    for (int64_t k = 0, j = B_; k < longest; k++) {
      while (j > 0 && count_[size_t(j - 1)] <= k) j--;
      offset_[size_t(k) + 1] = offset_[size_t(k)] + j;
    }
  }

  void place(Flags mask, Flags reset) {
    row_.resize(size_t(offset_.back()));
    if (reset.p) reset_.assign(row_.size(), 0), last_.assign(size_t(B_), 0);
    if (!mask.p && !reset.p) return place_all();
    for (int64_t j = 0; j < B_; j++) place_row(j, mask, reset);
  }

  // Every step up to the rows' lengths.
  void place_all() {
    for (size_t k = 0; k + 1 < offset_.size(); k++)
      for (int64_t p = offset_[k]; p < offset_[k + 1]; p++) {
        const int64_t b = order_[size_t(p - offset_[k])];
        row_[size_t(p)] = user_row(time(b, int64_t(k)), b);
      }
  }

  void place_row(int64_t j, Flags mask, Flags reset) {
    const int64_t b = order_[size_t(j)];
    int64_t k = 0, shown = -1 - j;  // what a masked step shows: the initial h so far
    bool fresh = false;             // a reset since the last step taken
    for (int64_t i = 0; i < length(b); i++) {
      const int64_t t = time(b, i);
      if (reset.p && reset.at(t, b)) fresh = true, shown = HOLD;
      if (mask.p && !mask.at(t, b)) {
        carried_.push_back(user_row(t, b)), from_.push_back(shown);
        continue;
      }
      const int64_t p = offset_[size_t(k++)] + j;
      row_[size_t(p)] = user_row(t, b);
      if (fresh) reset_[size_t(p)] = 1, any_reset_ = true;
      fresh = false, shown = p;
    }
    if (fresh) last_[size_t(j)] = 1, any_last_ = true;
  }
};

}  // namespace longspan
