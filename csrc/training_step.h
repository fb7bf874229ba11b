// One training step of a chain of layers in one call: forward, loss, backward, and Adam. For models so small that calls around
// the kernels would cost more than the kernels do. Buffers are made once for each shape of batch.
//
// Values lie as rows (B * steps, width), of a layer without a time dimension (B, width).
#pragma once
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "arguments.h"
#include "chain.h"
#include "plan.h"

namespace longspan {

// Numbers at an address that suits every vector; without a value at first.
class Numbers {
 public:
  explicit Numbers(int64_t n = 0) : p_(static_cast<float*>(std::aligned_alloc(64, bytes(n)))) {
    if (!p_) throw std::bad_alloc();
  }
  float* at(int64_t i = 0) const { return p_.get() + i; }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  static size_t bytes(int64_t n) { return (size_t(n > 0 ? n : 1) * sizeof(float) + 127) / 64 * 64; }
  std::unique_ptr<float, Free> p_;
};

// Where the tensors of a call lie: one weight after the other in the order of the layers, null where a layer has none, and for
// each its gradient, null where none is wanted.
struct StepTensors {
  const float* const* weights;
  float* const* grads;
  const float* const* masks;  // of the dropouts, in order; null for a prediction, which keeps nothing for a way back
  const uint8_t* taken;       // (B, steps): the steps that recurrent layers take; null for all
};

class ChainLayer {
 public:
  virtual ~ChainLayer() = default;
  // x -> y; whether it could.
  virtual bool forward(const void* x, float* y, const StepTensors& t, int threads) = 0;
  // The gradients of the weights, and dx unless it is null; dy may be overwritten.
  virtual void backward(const void* x, float* y, float* dy, float* dx, const StepTensors& t, int threads) = 0;
  int64_t size = 0;  // numbers in y
};

class EmbeddingLayer : public ChainLayer {
 public:
  EmbeddingLayer(int64_t rows, int64_t V, int64_t D, size_t weight) : rows_(rows), V_(V), D_(D), weight_(weight) {
    size = rows * D;
  }
  bool forward(const void* x, float* y, const StepTensors& t, int) override {
    const int64_t* code = static_cast<const int64_t*>(x);
    for (int64_t n = 0; n < rows_; n++) {
      if (code[n] < 0 || code[n] >= V_) return false;
      std::memcpy(y + n * D_, t.weights[weight_] + code[n] * D_, size_t(D_) * sizeof(float));
    }
    return true;
  }
  void backward(const void* x, float*, float* dy, float*, const StepTensors& t, int) override {
    float* table = t.grads[weight_];
    if (!table) return;
    std::memset(table, 0, size_t(V_ * D_) * sizeof(float));
    const int64_t* code = static_cast<const int64_t*>(x);
    for (int64_t n = 0; n < rows_; n++)
      for (int64_t i = 0; i < D_; i++) table[code[n] * D_ + i] += dy[n * D_ + i];
  }

 private:
  int64_t rows_, V_, D_;
  size_t weight_;
};

class DenseLayer : public ChainLayer {
 public:
  DenseLayer(const Driver& driver, const ChainDriver& chain, int64_t N, int64_t K, int64_t U, Activation activation,
             size_t weight)
      : driver_(driver), chain_(chain), weight_(weight) {
    call_.N = N, call_.K = K, call_.U = U, call_.activation = activation;
    size = N * U;
  }
  bool forward(const void* x, float* y, const StepTensors& t, int) override {
    set(x, y, t);
    driver_.linear32({call_.N, call_.K, call_.U, call_.x, call_.w, call_.bias, y});
    chain_.activate(call_);
    return true;
  }
  void backward(const void* x, float* y, float* dy, float* dx, const StepTensors& t, int) override {
    set(x, y, t);
    call_.dy = dy, call_.dx = dx, call_.dw = t.grads[weight_], call_.dbias = t.grads[weight_ + 1];
    chain_.backward(call_);
  }

 private:
  const Driver& driver_;
  const ChainDriver& chain_;
  size_t weight_;
  DenseCall call_ = {};
  void set(const void* x, float* y, const StepTensors& t) {
    call_.x = static_cast<const float*>(x), call_.y = y;
    call_.w = t.weights[weight_], call_.bias = t.weights[weight_ + 1];
  }
};

// Multiplies by a mask, which has the scale of what stays: one number a value, or (B, width) for all steps of a row.
class DropoutLayer : public ChainLayer {
 public:
  DropoutLayer(int64_t B, int64_t steps, int64_t width, bool shared, size_t mask)
      : repeats_(shared ? steps : 1), run_(shared ? width : B * steps * width), mask_(mask) {
    size = B * steps * width;
  }
  bool forward(const void* x, float* y, const StepTensors& t, int) override {
    if (t.masks)
      multiply(static_cast<const float*>(x), t.masks[mask_], y);
    else
      std::memcpy(y, x, size_t(size) * sizeof(float));
    return true;
  }
  void backward(const void*, float*, float* dy, float* dx, const StepTensors& t, int) override {
    if (dx) multiply(dy, t.masks[mask_], dx);
  }

 private:
  int64_t repeats_, run_;  // every run of the mask counts for so many runs of values
  size_t mask_;
  void multiply(const float* a, const float* mask, float* to) const {
    for (int64_t done = 0; done < size; mask += run_)
      for (int64_t r = 0; r < repeats_; r++, done += run_)
        for (int64_t i = 0; i < run_; i++) to[done + i] = a[done + i] * mask[i];
  }
};

constexpr size_t NO_MASK = SIZE_MAX;

struct RecurrentOptions {
  int64_t I, H;
  bool sequences;              // whether the outputs of all steps are given, else the last h
  bool zeros;                  // whether those of steps not taken are 0, else the h carried
  std::vector<int> backwards;  // of every direction
};

// A recurrent layer in one direction or two from its cell's initial state: the outputs (B, T, D * H) of all steps, or the last
// h (B, D * H). Five weights a direction: w, r, bx, br, p. Where h is dropped out, (D, B, H) is its mask.
class RecurrentLayer : public ChainLayer {
 public:
  static constexpr size_t WEIGHTS = 5;
  RecurrentLayer(const Driver& driver, uintptr_t entry, int64_t B, int64_t T, const RecurrentOptions& options, size_t weight,
                 size_t mask)
      : driver_(driver),
        cell_(table_of<float>(entry)),
        B_(B),
        T_(T),
        H_(options.H),
        D_(int(options.backwards.size())),
        o_(options),
        weight_(weight),
        mask_(mask) {
    size = (o_.sequences ? B * T : B) * D_ * H_;
    plan(nullptr, whole_);
    per_direction_ = B * T * longspan::saved_per_row(driver, false, entry, o_.I, H_, H_, false, false, false);
    states_ = Numbers(2 * D_ * cell_->S * B * H_);
    if (!o_.sequences) out_ = Numbers(B * T * D_ * H_), dlast_ = Numbers(D_ * B * H_);
    for (int s = 0; s < cell_->S; s++)
      for (int64_t i = 0; i < B * H_; i++) state(s)[i] = float(cell_->initial[s]);
  }
  bool forward(const void* x, float* y, const StepTensors& t, int threads) override {
    if (t.masks && !keeps_) saved_ = Numbers(D_ * per_direction_), keeps_ = true;
    if (t.taken) plan(t.taken, some_);
    for (int d = 0; d < D_; d++) {
      Call<float> c = call(x, y, t, threads, d);
      if (!t.masks) c.saved = nullptr;
      for (int s = 0; s < cell_->S; s++) c.last[s] = last(d, s);
      driver_.forward32(c);
      if (!o_.sequences) copy_columns(last(d, 0), H_, y + d * H_, D_ * H_);
    }
    if (t.taken && o_.zeros) clear_others(y, D_ * H_, t.taken);
    return true;
  }
  void backward(const void* x, float* y, float* dy, float* dx, const StepTensors& t, int threads) override {
    if (t.taken && o_.zeros) clear_others(dy, D_ * H_, t.taken);
    if (t.taken && dx) clear_others(dx, o_.I, t.taken);
    for (int d = 0; d < D_; d++) {
      Call<float> c = call(x, y, t, threads, d);
      if (o_.sequences) {
        c.dout = dy + d * H_;
      } else {
        c.dlast[0] = dlast_.at(d * B_ * H_);
        copy_columns(dy + d * H_, D_ * H_, dlast_.at(d * B_ * H_), H_);
      }
      c.dx = dx, c.dx_add = d > 0;
      float* const* g = t.grads + weight_ + size_t(d) * WEIGHTS;
      c.dw = g[0], c.dr = g[1], c.dbx = g[2], c.dbr = g[3], c.dp = g[4];
      driver_.backward32(c);
    }
  }

 private:
  const Driver& driver_;
  const CellTable<float>* cell_;
  int64_t B_, T_, H_, per_direction_ = 0;
  int D_;
  RecurrentOptions o_;
  bool keeps_ = false;  // whether there is memory for what training saves
  size_t weight_, mask_;
  std::vector<std::unique_ptr<PlanStore>> whole_,
      some_;  // of every direction: of all steps, and of those that a batch takes
  Numbers saved_, states_, out_, dlast_;

  float* state(int s) const { return states_.at(s * B_ * H_); }
  float* last(int d, int s) const { return states_.at(((d + 1) * cell_->S + s) * B_ * H_); }

  Call<float> call(const void* x, float* y, const StepTensors& t, int threads, int d) const {
    Call<float> c = {};
    const float* const* w = t.weights + weight_ + size_t(d) * WEIGHTS;
    c.cell = cell_, c.plan = &(t.taken ? some_ : whole_)[size_t(d)]->plan;
    c.I = o_.I, c.H = H_, c.R = H_, c.threads = threads;
    c.x = static_cast<const float*>(x), c.out = (o_.sequences ? y : out_.at()) + d * H_, c.out_step = D_ * H_;
    if (t.masks && mask_ != NO_MASK) c.drop = t.masks[mask_] + d * B_ * H_;
    c.gate_rows = B_ * T_, c.saved = saved_.at(d * per_direction_);
    c.w = w[0], c.r = w[1], c.bx = w[2], c.br = w[3], c.p = w[4];
    for (int s = 0; s < cell_->S; s++) c.state[s] = state(s);
    return c;
  }
  void plan(const uint8_t* taken, std::vector<std::unique_ptr<PlanStore>>& plans) const {
    plans.clear();
    for (int back : o_.backwards) plans.emplace_back(new PlanStore(T_, B_, nullptr, {taken, 1, T_}, {}, back != 0, false));
  }
  // 0 in the rows of steps not taken.
  void clear_others(float* rows, int64_t width, const uint8_t* taken) const {
    for (int64_t n = 0; n < B_ * T_; n++)
      if (!taken[n]) std::memset(rows + n * width, 0, size_t(width) * sizeof(float));
  }
  // B rows of H numbers.
  void copy_columns(const float* from, int64_t from_step, float* to, int64_t to_step) const {
    for (int64_t b = 0; b < B_; b++) std::memcpy(to + b * to_step, from + b * from_step, size_t(H_) * sizeof(float));
  }
};

// The layers for one shape of batch. Layers are added in order; then `run` takes batch after batch.
class TrainingStep {
 public:
  TrainingStep(const Driver& driver, const ChainDriver& chain, int64_t B, int64_t steps)
      : driver_(driver), chain_(chain), B_(B), steps_(steps) {}
  TrainingStep(const TrainingStep&) = delete;

  void embedding(int64_t V, int64_t D) { add(new EmbeddingLayer(B_ * steps_, V, D, weights_), 1); }
  // dropped: whether h is dropped out, by a mask (D, B, H).
  void recurrent(uintptr_t entry, int64_t I, int64_t H, bool sequences, bool zeros, bool dropped,
                 const std::vector<int>& backwards) {
    const size_t count = backwards.size() * RecurrentLayer::WEIGHTS;
    const RecurrentOptions options = {I, H, sequences, zeros, backwards};
    add(new RecurrentLayer(driver_, entry, B_, steps_, options, weights_, dropped ? masks_++ : NO_MASK), count);
    if (!sequences) steps_ = 1;
  }
  void dense(int64_t K, int64_t U, int activation) {
    add(new DenseLayer(driver_, chain_, B_ * steps_, K, U, Activation(activation), weights_), 2);
  }
  void dropout(int64_t width, bool shared) { add(new DropoutLayer(B_, steps_, width, shared, masks_++), 0); }
  void flatten() { steps_ = 1; }
  void loss(int kind, bool logits, double epsilon, int64_t U) {
    loss_ = {Loss(kind), logits, B_ * steps_, U, nullptr, nullptr, nullptr, nullptr, epsilon};
    if (layers_.empty() || layers_.back()->size != loss_.N * U) throw std::invalid_argument("the last layer's size");
  }

  // The loss of a batch, after which the gradients of the weights stand where `grads` say; in `out` the last layer's output.
  // Without a loss that is finite there are none. Returns -1, having changed nothing, where a code or a class is out of range.
  // taken: as in StepTensors; weight: as in LossCall; 0 for none.
  double run(uintptr_t x, uintptr_t target, uintptr_t out, const std::vector<uintptr_t>& weights,
             const std::vector<uintptr_t>& grads, std::vector<uintptr_t> masks, uintptr_t taken, uintptr_t weight,
             int threads) {
    if (weights.size() != weights_ || grads.size() != weights_ || masks.size() != masks_)
      throw std::invalid_argument("the number of tensors");
    masks.push_back(0);  // so that data() is never null
    const StepTensors t = {reinterpret_cast<const float* const*>(weights.data()),
                           reinterpret_cast<float* const*>(grads.data()),
                           reinterpret_cast<const float* const*>(masks.data()), reinterpret_cast<const uint8_t*>(taken)};
    if (!forward(reinterpret_cast<const void*>(x), reinterpret_cast<float*>(out), t, threads)) return -1;
    loss_.y = reinterpret_cast<const float*>(out), loss_.target = reinterpret_cast<const void*>(target);
    loss_.weight = reinterpret_cast<const float*>(weight), loss_.dy = gradients_.back().at();
    const double value = chain_.loss(loss_);
    if (value == -1 || !(value - value == 0)) return value;
    for (size_t i = layers_.size(); i-- > 0;)
      layers_[i]->backward(input(i), output(i), gradients_[i].at(), i ? gradients_[i - 1].at() : nullptr, t, threads);
    return value;
  }

  // The last layer's output without dropout, in `out`; whether every code was in range.
  bool predict(uintptr_t x, uintptr_t out, const std::vector<uintptr_t>& weights, uintptr_t taken, int threads) {
    if (weights.size() != weights_) throw std::invalid_argument("the number of tensors");
    const StepTensors t = {reinterpret_cast<const float* const*>(weights.data()), nullptr, nullptr,
                           reinterpret_cast<const uint8_t*>(taken)};
    return forward(reinterpret_cast<const void*>(x), reinterpret_cast<float*>(out), t, threads);
  }

 private:
  const Driver& driver_;
  const ChainDriver& chain_;
  int64_t B_, steps_;
  size_t weights_ = 0, masks_ = 0;
  std::vector<std::unique_ptr<ChainLayer>> layers_;
  std::vector<Numbers> values_, gradients_;  // of every layer's output
  const void* x_ = nullptr;
  float* out_ = nullptr;
  LossCall loss_ = {};

  void add(ChainLayer* layer, size_t weights) {
    layers_.emplace_back(layer);
    values_.emplace_back(layer->size), gradients_.emplace_back(layer->size);
    weights_ += weights;
  }
  const void* input(size_t i) const { return i ? values_[i - 1].at() : x_; }
  float* output(size_t i) const { return i + 1 == layers_.size() ? out_ : values_[i].at(); }
  bool forward(const void* x, float* out, const StepTensors& t, int threads) {
    x_ = x, out_ = out;
    for (size_t i = 0; i < layers_.size(); i++)
      if (!layers_[i]->forward(input(i), output(i), t, threads)) return false;
    return true;
  }
};

// One step of Adam for several weights; large ones are shared by threads.
inline void adam(const ChainDriver& driver, const std::vector<uintptr_t>& weights, const std::vector<uintptr_t>& grads,
                 const std::vector<uintptr_t>& averages, const std::vector<uintptr_t>& squares,
                 const std::vector<int64_t>& sizes, const AdamCall& call, int threads) {
  struct Work {
    const ChainDriver& driver;
    const std::vector<uintptr_t>&weights, &grads, &averages, &squares;
    const std::vector<int64_t>& sizes;
    const AdamCall& call;
    int threads;
  } work = {driver, weights, grads, averages, squares, sizes, call, 1};
  int64_t all = 0;
  for (size_t i = 0; i < weights.size(); i++) all += sizes.at(i);
  if (grads.size() != weights.size() || averages.size() != weights.size() || squares.size() != weights.size())
    throw std::invalid_argument("the number of tensors");
  if (all > 1 << 16) work.threads = threads;
  parallel(
      work.threads,
      [](void* data, int thread) {
        const Work& w = *static_cast<const Work*>(data);
        for (size_t i = 0; i < w.weights.size(); i++) {
          // parts begin where a vector does, so that the number of threads does not change a number
          const int64_t vectors = (w.sizes[i] + 15) / 16, from = vectors * thread / w.threads * 16;
          const int64_t to = thread + 1 == w.threads ? w.sizes[i] : vectors * (thread + 1) / w.threads * 16;
          auto at = [&](const std::vector<uintptr_t>& all) { return reinterpret_cast<float*>(all[i]) + from; };
          if (to > from) w.driver.adam(to - from, at(w.weights), at(w.grads), at(w.averages), at(w.squares), w.call);
        }
      },
      &work);
}

}  // namespace longspan
