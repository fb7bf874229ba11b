// One step of a stream from PyTorch's tensors to PyTorch's tensors, in one call: what Python would spend on looking at ten
// tensors and on making three is more than the arithmetic.
//
// Only where DLPack's exchange protocol is there (tensors.h).
#pragma once
#include "tensors.h"

namespace longspan {

// A stack of plain layers of one cell, one direction and one size of hidden state; several threads may call it at once.
class Stream {
 public:
  // exchange: the capsule; tensor, parameter: the classes; sizes: I of each layer; fields: of each parameter in turn, as
  // layer * 5 + (0 w, 1 r, 2 bx, 3 br, 4 p); out: whether h is wanted a second time, without its layer.
  Stream(nb::object exchange, nb::object tensor, nb::object parameter, const Driver& driver, bool f64,
         const CellEntry* entry, int64_t H, std::vector<int64_t> sizes, std::vector<int> fields, bool out)
      : tensor_(tensor),
        parameter_(parameter),
        driver_(driver),
        f64_(f64),
        entry_(entry),
        H_(H),
        sizes_(std::move(sizes)),
        fields_(std::move(fields)),
        out_(out) {
    api_ = exchange_of(exchange);
    const CellTable<float>& cell = *entry->f32;
    S_ = cell.S, G_ = cell.G, P_ = cell.P;
    for (int64_t I : sizes_) work_ += double(H) * G_ * double(I + H);
  }

  // (x (B, I) or (I,), the states, a dict of the parameters) -> (out, new states), or the new states alone; None where anything is
  // not as it must be, for the long way round to deal with.
  nb::object run(nb::handle x, nb::handle state, nb::dict parameters) const {
    if (!api_) return nb::none();
    return f64_ ? step<double>(x, state, parameters, driver_.step64, entry_->f64)
                : step<float>(x, state, parameters, driver_.step32, entry_->f32);
  }

 private:
  const Exchange* api_ = nullptr;
  nb::object tensor_, parameter_;
  const Driver& driver_;
  bool f64_;
  const CellEntry* entry_;
  int64_t H_;
  std::vector<int64_t> sizes_;
  std::vector<int> fields_;
  bool out_;
  int S_ = 0, G_ = 0, P_ = 0;
  double work_ = 0;

  // Whether `object` is a contiguous CPU tensor of this very class and of our dtype.
  bool is(nb::handle object, nb::handle type, dltensor& d) const {
    if (reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) != type.ptr()) return false;
    if (api_->look(object.ptr(), &d)) {
      PyErr_Clear();
      return false;
    }
    if (d.device.device_type != nb::device::cpu::value || d.dtype.code != uint8_t(nb::dlpack::dtype_code::Float) ||
        d.dtype.bits != (f64_ ? 64 : 32) || d.dtype.lanes != 1)
      return false;
    for (int i = 0; i < d.ndim; i++)
      if (d.shape[i] == 0) return false;
    return contiguous(d);
  }

  static bool shaped(const dltensor& d, std::initializer_list<int64_t> shape) {
    if (d.ndim != int(shape.size())) return false;
    for (int i = 0; i < d.ndim; i++)
      if (d.shape[i] != shape.begin()[i]) return false;
    return true;
  }
  bool state_fits(const dltensor& d, bool rows, int64_t L, int64_t B) const {
    if (out_) return rows ? shaped(d, {L, B, H_}) : shaped(d, {L, H_});
    return rows ? shaped(d, {B, H_}) : shaped(d, {H_});
  }

  template <class T>
  static T* data(const dltensor& d) {
    return reinterpret_cast<T*>(numbers(d));
  }

  // A tensor like `like`, without values, and where its numbers go.
  template <class T>
  nb::object made(dltensor& like, T*& to) const {
    Made* raw = nullptr;
    void* object = nullptr;
    auto refused = [](void*, const char*, const char* message) { PyErr_SetString(PyExc_RuntimeError, message); };
    if (api_->make(&like, &raw, nullptr, refused)) throw nb::python_error();
    to = data<T>(raw->tensor);
    if (api_->give(raw, &object)) throw nb::python_error();
    return nb::steal(static_cast<PyObject*>(object));
  }

  template <class T>
  bool weights(nb::dict parameters, StepCall<T>* calls) const {
    PyObject *name, *value;
    Py_ssize_t at = 0;
    size_t i = 0;
    const int64_t L = int64_t(sizes_.size()), GH = G_ * H_;
    while (PyDict_Next(parameters.ptr(), &at, &name, &value)) {
      if (value == Py_None) continue;
      if (i == fields_.size()) return false;
      const int layer = fields_[i] / 5, field = fields_[i++] % 5;
      dltensor d;
      if (layer >= L || !is(value, parameter_, d)) return false;
      StepCall<T>& c = calls[layer];
      const bool fits = field == 0   ? shaped(d, {GH, sizes_[size_t(layer)]})
                        : field == 1 ? shaped(d, {GH, H_})
                        : field == 4 ? shaped(d, {P_, H_})
                                     : shaped(d, {GH});
      if (!fits) return false;
      (field == 0 ? c.w : field == 1 ? c.r : field == 2 ? c.bx : field == 3 ? c.br : c.p) = data<const T>(d);
    }
    return i == fields_.size();
  }

  template <class T, class F>
  nb::object step(nb::handle x, nb::handle state, nb::dict parameters, F run, const CellTable<T>* table) const {
    constexpr int MOST = 8;  // layers
    const int64_t L = int64_t(sizes_.size());
    StepCall<T> calls[MOST] = {};
    dltensor dx, ds[MAX_STATES];
    if (L > MOST || !is(x, tensor_, dx)) return nb::none();
    const bool rows = dx.ndim == 2;  // or one stream without a batch
    const int64_t B = rows ? dx.shape[0] : 1;
    if (B > STEP_ROWS || !(rows ? shaped(dx, {B, sizes_[0]}) : shaped(dx, {sizes_[0]}))) return nb::none();
    const bool several = PyTuple_CheckExact(state.ptr());
    if (S_ > 1 ? !several || PyTuple_Size(state.ptr()) != S_ : several) return nb::none();
    for (int i = 0; i < S_; i++) {
      const nb::handle one = several ? nb::handle(PyTuple_GetItem(state.ptr(), i)) : state;
      if (!is(one, tensor_, ds[i]) || !state_fits(ds[i], rows, L, B)) return nb::none();
    }
    if (!weights(parameters, calls)) return nb::none();

    nb::object out = nb::none(), fresh[MAX_STATES];
    const T* s[MAX_STATES];
    T *n[MAX_STATES], *shown = nullptr;
    for (int i = 0; i < S_; i++) {
      fresh[i] = made(ds[i], n[i]);
      s[i] = data<const T>(ds[i]);
    }
    if (out_) {
      int64_t shape[2] = {rows ? B : H_, H_};
      dltensor like = dx;
      like.shape = shape;
      out = made(like, shown);
    }
    PyThreadState* held = work_ * double(B) > 2e6 ? PyEval_SaveThread() : nullptr;
    const T* from = data<const T>(dx);
    for (int64_t l = 0; l < L; l++) {
      calls[l].cell = table, calls[l].I = sizes_[size_t(l)], calls[l].H = H_;
      run(calls[l], B, from, s, n, l == L - 1 ? shown : nullptr);
      from = n[0];
      for (int i = 0; i < S_; i++) s[i] += B * H_, n[i] += B * H_;
    }
    if (held) PyEval_RestoreThread(held);
    nb::object last = S_ == 1 ? fresh[0] : nb::steal(PyTuple_New(S_));
    for (int i = 0; S_ > 1 && i < S_; i++) PyTuple_SetItem(last.ptr(), i, fresh[i].release().ptr());
    return out_ ? nb::object(nb::make_tuple(out, last)) : last;
  }
};

}  // namespace longspan
