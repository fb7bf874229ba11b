// Calls of K models of one shape at once, such as torch.vmap asks for: each model on one thread.
#pragma once
#include <atomic>
#include <vector>

#include "arguments.h"
#include "tensors.h"

namespace longspan {

// The tensors of K calls, given model by model as `Tensors` gives those of one call.
class ModelTensors {
 public:
  // stacked: for each tensor, 1 if its first dimension is the models', 0 if all models share it.
  ModelTensors(const Exchange* api, nb::tuple all, const std::vector<int>& stacked, int models)
      : tensors_(api, all), stacked_(stacked), models_(models) {
    if (stacked.size() != size_t(nb::len(all))) throw std::invalid_argument("expected a flag for each tensor");
    while (tensors_.more()) parts_.push_back(tensors_.next());
  }

  // The next tensors are those of this model.
  void begin(int model) { model_ = model, at_ = 0; }

  template <class P>
  void operator()(P*& to, int d = 0, int parts = 1) {
    const Tensors::Part whole = parts_.at(at_);
    const ptrdiff_t bytes = (whole.past - whole.p) / (stacked_[at_] ? models_ : 1);
    to = reinterpret_cast<P*>(whole.p ? whole.p + (stacked_[at_] ? bytes * model_ : 0) + bytes / parts * d : nullptr);
    at_++;
  }
  template <class P>
  void operator()(P* (&to)[MAX_STATES], int n, int d, int parts) {
    for (int i = 0; i < n; i++) (*this)(to[i], d, parts);
  }
  void pass(int n) { at_ += size_t(n); }
  bool more() const { return at_ < parts_.size(); }

 private:
  Tensors tensors_;
  std::vector<Tensors::Part> parts_;
  const std::vector<int>& stacked_;
  int models_, model_ = 0;
  size_t at_ = 0;
};

// The calls of K models, the directions of a model one after the other.
template <class T>
struct ManyCalls {
  std::vector<Call<T>> calls;
  std::vector<ZoneRate> zones;
  int models, directions;
  bool reversed;
  void (*run)(const Call<T>&);
  std::atomic<int> next{0};

  // plan(model, direction) gives its plan. reversed: whether the last model comes first: what forward calls have saved last
  // is still in the caches when the backward calls begin.
  template <class Plans>
  ManyCalls(uintptr_t entry, ModelTensors& tensors, Plans plan, const Sizes& sizes, const std::vector<double>& rates,
            int models, bool reversed, void (*run)(const Call<T>&))
      : zones(size_t(models * sizes.directions) * MAX_STATES),
        models(models),
        directions(sizes.directions),
        reversed(reversed),
        run(run) {
    for (int k = 0; k < models; k++)
      for (int d = 0; d < directions; d++) {
        tensors.begin(k);
        calls.push_back(make_call<T>(entry, plan(k, d), sizes, tensors, d, rates, zones.data() + calls.size() * MAX_STATES));
      }
  }

  // The calls of the k-th model in turn.
  void run_model(int k) {
    if (reversed) k = models - 1 - k;
    for (int d = 0; d < directions; d++) run(calls[size_t(k * directions + d)]);
  }

  // With fewer models than threads, the threads share each model; else each takes the next model that is left.
  void run_all(int threads) {
    if (models < threads) {
      for (int k = 0; k < models; k++) run_model(k);
      return;
    }
    for (Call<T>& c : calls) c.threads = 1;
    longspan::parallel(
        threads,
        [](void* self, int) {
          ManyCalls& m = *static_cast<ManyCalls*>(self);
          for (int k; (k = m.next++) < m.models;) m.run_model(k);
        },
        this);
  }
};

}  // namespace longspan
