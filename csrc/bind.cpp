// What Python sees of the kernels: plans, sizes, a forward and a backward call over plain addresses.
//
// Tensors cross the border as DLPack shows them, sizes as kernels/cpu.py has checked them: one build serves every PyTorch.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.h"
#include "call.h"
#include "many.h"
#include "next_token.h"
#include "output.h"
#include "plan.h"
#include "stream.h"
#include "training_step.h"

#define LONGSPAN_DRIVER(isa)              \
  namespace isa {                         \
  const longspan::Driver* driver();       \
  const longspan::OutputDriver* output(); \
  const longspan::ChainDriver* chain();   \
  }
#if defined(LS_X86)
LONGSPAN_DRIVER(avx512)
LONGSPAN_DRIVER(avx2)
LONGSPAN_DRIVER(baseline)
#elif defined(__aarch64__)
LONGSPAN_DRIVER(neon)
#else
LONGSPAN_DRIVER(baseline)
#endif

namespace nb = nanobind;
using longspan::Call;
using longspan::CellEntry;
using longspan::CellTable;
using longspan::Driver;
using longspan::make_call;
using longspan::ManyCalls;
using longspan::ModelTensors;
using longspan::Plan;
using longspan::PlanStore;
using longspan::Sizes;
using longspan::table_of;
using longspan::Tensors;
using longspan::ZoneRate;

namespace {

// The drivers that this machine runs, widest first. Asking a driver for its table already executes its instructions, so the
// processor is asked first, by this file, which is compiled for any processor.
const std::vector<const Driver*>& drivers() {
#if defined(LS_X86)
  static const std::vector<const Driver*> all = [] {
    std::vector<const Driver*> runnable;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
      runnable.push_back(avx512::driver());
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) runnable.push_back(avx2::driver());
    runnable.push_back(baseline::driver());
    return runnable;
  }();
#elif defined(__aarch64__)
  static const std::vector<const Driver*> all = {neon::driver()};
#else
  static const std::vector<const Driver*> all = {baseline::driver()};
#endif
  return all;
}

const Driver& driver(const std::string& name) {
  for (const Driver* d : drivers())
    if (name == d->name) return *d;
  throw std::invalid_argument("no instruction set " + name);
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const Driver* d : drivers()) names.push_back(d->name);
  return names;
}

uintptr_t cell(const std::string& isa, const std::string& name) {
  const Driver& d = driver(isa);
  for (int i = 0; i < d.cells; i++)
    if (name == d.entries[i]->f32->name) return reinterpret_cast<uintptr_t>(d.entries[i]);
  return 0;
}

PlanStore* make_plan(int64_t T, int64_t B, uintptr_t lengths, uintptr_t mask, int64_t mask_t, int64_t mask_b,
                     uintptr_t reset, int64_t reset_t, int64_t reset_b, bool backwards, bool time_major) {
  return new PlanStore(T, B, reinterpret_cast<const int64_t*>(lengths),
                       {reinterpret_cast<const uint8_t*>(mask), mask_t, mask_b},
                       {reinterpret_cast<const uint8_t*>(reset), reset_t, reset_b}, backwards, time_major);
}

// Numbers that a call gives or keeps for its way back. Fresh pages cost more than the arithmetic that fills them, so the
// memory of an earlier call is handed out again.
nb::object buffer(const std::vector<size_t>& shape, bool f64) {
  size_t bytes = f64 ? 8 : 4;
  for (size_t n : shape) bytes *= n;
  void* p = longspan::borrow(bytes);
  nb::capsule owner(p, [](void* q) noexcept { longspan::give_back(q); });
  const nb::dlpack::dtype type = f64 ? nb::dtype<double>() : nb::dtype<float>();
  return nb::cast(nb::ndarray<nb::pytorch>(p, shape.size(), shape.data(), owner, nullptr, type));
}

const longspan::OutputDriver& output_driver(const std::string& name) {
  const std::string isa = driver(name).name;  // throws where this processor lacks the instructions, before any of them runs
#if defined(LS_X86)
  return *(isa == "avx512" ? avx512::output() : isa == "avx2" ? avx2::output() : baseline::output());
#elif defined(__aarch64__)
  return *neon::output();
#else
  return *baseline::output();
#endif
}

const longspan::ChainDriver& chain_driver(const std::string& name) {
  const std::string isa = driver(name).name;
#if defined(LS_X86)
  return *(isa == "avx512" ? avx512::chain() : isa == "avx2" ? avx2::chain() : baseline::chain());
#elif defined(__aarch64__)
  return *neon::chain();
#else
  return *baseline::chain();
#endif
}

template <class T>
int64_t run_output(int64_t (*run)(const longspan::OutputCall<T>&), const std::vector<int64_t>& sizes,
                   const std::vector<uintptr_t>& at, int64_t ignore, double smoothing, int threads) {
  auto tensor = [&](size_t i) { return reinterpret_cast<T*>(at.at(i)); };
  const longspan::OutputCall<T> c = {
      sizes.at(0), sizes.at(1), sizes.at(2), tensor(0), tensor(1), tensor(2), reinterpret_cast<const int64_t*>(at.at(3)),
      ignore,      smoothing,   tensor(4),   tensor(5), tensor(6), tensor(7), tensor(8),
      threads};
  nb::gil_scoped_release free;
  return run(c);
}

// sizes: N, K, V; at: where x, w, bias, target, weight, loss, dx, dw and db lie, 0 for none. See output.h.
int64_t output_loss(const std::string& isa, bool f64, const std::vector<int64_t>& sizes, const std::vector<uintptr_t>& at,
                    int64_t ignore, double smoothing, int threads) {
  const longspan::OutputDriver& d = output_driver(isa);
  return f64 ? run_output(d.run64, sizes, at, ignore, smoothing, threads)
             : run_output(d.run32, sizes, at, ignore, smoothing, threads);
}

enum Verb { FORWARD, BACKWARD };

template <class T>
void run(const Driver& driver, Verb verb, const Call<T>& c) {
  nb::gil_scoped_release free;
  if constexpr (sizeof(T) == 4)
    (verb == FORWARD ? driver.forward32 : driver.backward32)(c);
  else
    (verb == FORWARD ? driver.forward64 : driver.backward64)(c);
}

// One cell's kernels for one instruction set and one number type.
class Kernels {
 public:
  Kernels(nb::object exchange, const std::string& isa, bool f64, uintptr_t entry)
      : api_(longspan::exchange_of(exchange)), driver_(driver(isa)), f64_(f64), entry_(entry) {}

  // plans: one a direction.
  template <Verb VERB>
  void call(nb::tuple plans, nb::tuple tensors, int64_t I, int64_t H, int64_t R, int64_t rows, int threads,
            const std::vector<double>& rates) const {
    const Sizes sizes = {I, H, R, rows, threads, int(nb::len(plans))};
    for (int d = 0; d < sizes.directions; d++) {
      ZoneRate zone[longspan::MAX_STATES];
      const Plan& plan = nb::cast<const PlanStore&>(plans[size_t(d)]).plan;
      Tensors all(api_, tensors);
      if (f64_)
        run(driver_, VERB, make_call<double>(entry_, plan, sizes, all, d, rates, zone));
      else
        run(driver_, VERB, make_call<float>(entry_, plan, sizes, all, d, rates, zone));
    }
  }

  // The calls of `models` models of one shape. stacked: which tensors have a part for each model. plans: one a direction, or
  // one for each model and direction.
  template <Verb VERB>
  void many(nb::tuple plans, nb::tuple tensors, const std::vector<int>& stacked, int models, int directions, int64_t I,
            int64_t H, int64_t R, int64_t rows, int threads, const std::vector<double>& rates) const {
    const Sizes sizes = {I, H, R, rows, threads, directions};
    ModelTensors all(api_, tensors, stacked, models);
    auto plan = [&](int k, int d) -> const Plan& {
      const size_t i = int(nb::len(plans)) == directions ? size_t(d) : size_t(k * directions + d);
      return nb::cast<const PlanStore&>(plans[i]).plan;
    };
    auto run = [&](auto calls) {
      nb::gil_scoped_release free;
      calls.run_all(threads);
    };
    if (f64_)
      run(ManyCalls<double>(entry_, all, plan, sizes, rates, models, VERB == BACKWARD,
                            VERB == FORWARD ? driver_.forward64 : driver_.backward64));
    else
      run(ManyCalls<float>(entry_, all, plan, sizes, rates, models, VERB == BACKWARD,
                           VERB == FORWARD ? driver_.forward32 : driver_.backward32));
  }

  // How many numbers a training call saves for its backward pass, for each packed row.
  int64_t saved_per_row(int64_t I, int64_t H, int64_t R, bool norm, bool proj, bool zoned) const {
    return longspan::saved_per_row(driver_, f64_, entry_, I, H, R, norm, proj, zoned);
  }

 private:
  const longspan::Exchange* api_;
  const Driver& driver_;
  bool f64_;
  uintptr_t entry_;
};

struct Peak {
  const Driver* driver;
  std::vector<double> each;
};

// GFLOP/s of float32 multiply-adds that `threads` threads reach together on registers and the nearest cache.
double peak_gflops(int threads, const std::string& isa) {
  Peak p{&driver(isa.empty() ? instruction_sets().at(0) : isa), std::vector<double>(size_t(threads))};
  nb::gil_scoped_release free;
  longspan::parallel(
      threads,
      [](void* d, int i) {
        Peak& q = *static_cast<Peak*>(d);
        q.each[size_t(i)] = q.driver->peak(0.2);
      },
      &p);
  double sum = 0;
  for (double g : p.each) sum += g;
  return sum;
}

}  // namespace

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // a traceback at exit may still hold a plan
  nb::class_<PlanStore>(m, "Plan")
      .def_prop_ro("steps", [](const PlanStore& s) { return s.plan.steps; })
      .def_prop_ro("total", [](const PlanStore& s) { return s.plan.total; });
  nb::class_<longspan::Stream>(m, "Stream")
      .def("__init__",
           [](longspan::Stream* self, nb::object exchange, nb::object tensor, nb::object parameter, const std::string& isa,
              bool f64, uintptr_t entry, int64_t H, std::vector<int64_t> sizes, std::vector<int> fields, bool out,
              std::vector<nb::object> observers) {
             new (self)
                 longspan::Stream(exchange, tensor, parameter, driver(isa), f64, reinterpret_cast<const CellEntry*>(entry),
                                  H, std::move(sizes), std::move(fields), out, longspan::Observers(std::move(observers)));
           })
      .def("run", &longspan::Stream::run, nb::arg("x").none(), nb::arg("state").none(), nb::arg("parameters"));
  nb::class_<longspan::TokenStream>(m, "TokenStream")
      .def("__init__",
           [](longspan::TokenStream* self, nb::object exchange, nb::object tensor, nb::object parameter,
              const std::string& isa, bool f64, std::vector<nb::object> streams, std::vector<nb::object> observers) {
             new (self) longspan::TokenStream(exchange, tensor, parameter, driver(isa), f64, std::move(streams),
                                              longspan::Observers(std::move(observers)));
           })
      .def("run", &longspan::TokenStream::run, nb::arg("tokens").none(), nb::arg("states"), nb::arg("parameters"),
           nb::arg("table").none(), nb::arg("linears"));
  nb::class_<longspan::NextToken>(m, "NextToken")
      .def(nb::init<nb::object, nb::object, bool>(), nb::arg("exchange").none(), nb::arg("tensor"), nb::arg("f64"))
      .def("mixed", &longspan::NextToken::mixed, nb::arg("logits"), nb::arg("shares"), nb::arg("weight"), nb::arg("bias"))
      .def("drawn", &longspan::NextToken::drawn, nb::arg("logits"), nb::arg("variates"));
  nb::class_<longspan::TrainingStep>(m, "TrainingStep")
      .def("__init__", [](longspan::TrainingStep* self, const std::string& isa, int64_t B,
                          int64_t steps) { new (self) longspan::TrainingStep(driver(isa), chain_driver(isa), B, steps); })
      .def("embedding", &longspan::TrainingStep::embedding)
      .def("recurrent", &longspan::TrainingStep::recurrent)
      .def("dense", &longspan::TrainingStep::dense)
      .def("dropout", &longspan::TrainingStep::dropout)
      .def("flatten", &longspan::TrainingStep::flatten)
      .def("loss", &longspan::TrainingStep::loss)
      .def("run", &longspan::TrainingStep::run, nb::call_guard<nb::gil_scoped_release>())
      .def("predict", &longspan::TrainingStep::predict, nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "adam",
      [](const std::string& isa, const std::vector<uintptr_t>& weights, const std::vector<uintptr_t>& grads,
         const std::vector<uintptr_t>& averages, const std::vector<uintptr_t>& squares, const std::vector<int64_t>& sizes,
         double rate, double beta1, double beta2, double epsilon, double correction1, double correction2, double decay,
         int threads) {
        longspan::adam(chain_driver(isa), weights, grads, averages, squares, sizes,
                       {rate, beta1, beta2, epsilon, correction1, correction2, decay}, threads);
      },
      nb::call_guard<nb::gil_scoped_release>());
  nb::class_<Kernels>(m, "Kernels")
      .def(nb::init<nb::object, const std::string&, bool, uintptr_t>(), nb::arg("exchange").none(), nb::arg("isa"),
           nb::arg("f64"), nb::arg("entry"))
      .def("forward", &Kernels::call<FORWARD>)
      .def("backward", &Kernels::call<BACKWARD>)
      .def("forward_many", &Kernels::many<FORWARD>)
      .def("backward_many", &Kernels::many<BACKWARD>)
      .def("saved_per_row", &Kernels::saved_per_row);
  m.def("plan", make_plan, nb::rv_policy::take_ownership);
  m.def("instruction_sets", instruction_sets);
  m.def("cell", cell);
  m.def("flags", [](const std::string& isa) { return std::string(driver(isa).flags); });
  m.def("draw", [](uintptr_t to, int64_t n, double rate, uint64_t seed) {
    nb::gil_scoped_release free;
    driver(instruction_sets().at(0)).draw(reinterpret_cast<uint8_t*>(to), n, rate, seed);
  });
  m.def("output_loss", output_loss);
  m.def("buffer", buffer);
  m.def("peak_gflops", peak_gflops, nb::arg("threads") = 1, nb::arg("isa") = "");
  m.attr("ABI") = longspan::ABI;
  m.attr("STEP_ROWS") = longspan::STEP_ROWS;
}
