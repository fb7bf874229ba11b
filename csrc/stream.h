// One step of a stream from PyTorch's tensors to PyTorch's tensors, in one call: what Python would spend on looking at ten
// tensors and on making three is more than the arithmetic. A stream reads vectors, or tokens and answers with logits.
//
// Only where DLPack's exchange protocol is there (tensors.h).
#pragma once
#include <cstdlib>
#include <new>

#include "tensors.h"

namespace longspan {

// What may be active that has to see PyTorch's own calls, such as autograd or a trace: functions, each of whose answers is
// false or None where it is not.
class Observers {
 public:
  explicit Observers(std::vector<nb::object> functions) : functions_(std::move(functions)) {}

  bool any() const {
    for (const nb::object& function : functions_)
      if (nb::cast<bool>(nb::bool_(function()))) return true;
    return false;
  }

 private:
  std::vector<nb::object> functions_;
};

// Looks at and makes contiguous CPU tensors of float32 or float64.
class StreamTensors {
 public:
  StreamTensors(nb::object exchange, nb::object tensor, nb::object parameter, bool f64)
      : api_(exchange_of(exchange)), tensor_(tensor), parameter_(parameter), f64_(f64) {}

 protected:
  const Exchange* api_;
  nb::object tensor_, parameter_;
  bool f64_;

  // Whether `object` is a contiguous CPU tensor of this very class that holds numbers of this type, and at least one.
  bool is(nb::handle object, nb::handle type, dltensor& d, nb::dlpack::dtype_code code, int bits) const {
    if (reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) != type.ptr()) return false;
    if (api_->look(object.ptr(), &d)) {
      PyErr_Clear();
      return false;
    }
    if (d.device.device_type != nb::device::cpu::value || d.dtype.code != uint8_t(code) || d.dtype.bits != bits ||
        d.dtype.lanes != 1)
      return false;
    for (int i = 0; i < d.ndim; i++)
      if (d.shape[i] == 0) return false;
    return contiguous(d);
  }
  bool is(nb::handle object, nb::handle type, dltensor& d) const {
    return is(object, type, d, nb::dlpack::dtype_code::Float, f64_ ? 64 : 32);
  }

  static bool shaped(const dltensor& d, std::initializer_list<int64_t> shape) {
    if (d.ndim != int(shape.size())) return false;
    for (int i = 0; i < d.ndim; i++)
      if (d.shape[i] != shape.begin()[i]) return false;
    return true;
  }

  template <class T>
  static T* data(const dltensor& d) {
    return reinterpret_cast<T*>(numbers(d));
  }

  // A contiguous tensor of the shape, type and device of `like`, without values, and where its numbers go. The numbers lie
  // behind the tensor's description in one block of memory, which the tensor frees; PyTorch's own way to make one takes twice
  // as long.
  template <class T>
  nb::object made(const dltensor& like, T*& to) const {
    constexpr size_t ALIGNMENT = 64;  // bytes
    constexpr int MOST = 3;           // dimensions
    struct Block {
      Made made;
      int64_t shape[MOST], strides[MOST];
    };
    size_t count = 1;
    for (int i = 0; i < like.ndim; i++) count *= size_t(like.shape[i]);
    void* memory = like.ndim > MOST ? nullptr : std::malloc(sizeof(Block) + ALIGNMENT + count * sizeof(T));
    if (!memory) throw std::bad_alloc();
    Block* block = new (memory) Block{};
    const uintptr_t behind = reinterpret_cast<uintptr_t>(block + 1);
    to = reinterpret_cast<T*>((behind + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    int64_t stride = 1;
    for (int i = like.ndim - 1; i >= 0; i--) {
      block->shape[i] = like.shape[i], block->strides[i] = stride;
      stride *= like.shape[i];
    }
    Made& raw = block->made;
    raw.major = 1, raw.context = memory, raw.tensor = like;
    raw.deleter = [](Made* done) { std::free(done->context); };
    raw.tensor.data = to, raw.tensor.byte_offset = 0, raw.tensor.shape = block->shape, raw.tensor.strides = block->strides;
    void* object = nullptr;
    if (api_->give(&raw, &object)) {
      std::free(memory);
      throw nb::python_error();
    }
    return nb::steal(static_cast<PyObject*>(object));
  }
  // A tensor (rows, columns) of the type and device of `like`.
  template <class T>
  nb::object made(const dltensor& like, int64_t rows, int64_t columns, T*& to) const {
    int64_t shape[2] = {rows, columns};
    dltensor d = like;
    d.ndim = 2, d.shape = shape, d.strides = nullptr, d.byte_offset = 0;
    return made(d, to);
  }
};

// A stack of plain layers of one cell, one direction and one size of hidden state; several threads may call it at once.
class Stream : StreamTensors {
 public:
  // exchange: the capsule; tensor, parameter: the classes; sizes: I of each layer; fields: of each parameter in turn, as
  // layer * FIELDS + (0 w, 1 r, 2 bx, 3 br, 4 p, 5 w_scale, 6 r_scale: w and r are int8 then); out: whether h is wanted a
  // second time, without its layer.
  Stream(nb::object exchange, nb::object tensor, nb::object parameter, const Driver& driver, bool f64,
         const CellEntry* entry, int64_t H, std::vector<int64_t> sizes, std::vector<int> fields, bool out,
         Observers observers)
      : StreamTensors(exchange, tensor, parameter, f64),
        observers_(std::move(observers)),
        driver_(driver),
        entry_(entry),
        H_(H),
        sizes_(std::move(sizes)),
        fields_(std::move(fields)),
        out_(out) {
    const CellTable<float>& cell = *entry->f32;
    S_ = cell.S, G_ = cell.G, P_ = cell.P;
    for (int64_t I : sizes_) work_ += double(H) * G_ * double(I + H);
    for (int field : fields_) int8_ = int8_ || field % FIELDS == 5;
  }

  // (x (B, I) or (I,), the states, a dict of the parameters) -> (out, new states), or the new states alone; None where anything is
  // not as it must be, for the long way round to deal with.
  nb::object run(nb::handle x, nb::handle state, nb::dict parameters) const {
    return observers_.any() ? nb::none() : run_unobserved(x, state, parameters);
  }
  nb::object run_unobserved(nb::handle x, nb::handle state, nb::dict parameters) const {
    if (!api_) return nb::none();
    return f64_ ? step<double>(x, state, parameters, driver_.step64, entry_->f64)
                : step<float>(x, state, parameters, driver_.step32, entry_->f32);
  }

 private:
  Observers observers_;
  const Driver& driver_;
  const CellEntry* entry_;
  int64_t H_;
  std::vector<int64_t> sizes_;
  std::vector<int> fields_;
  bool out_;
  int S_ = 0, G_ = 0, P_ = 0;
  double work_ = 0;
  static constexpr int FIELDS = 7;
  bool int8_ = false;

  bool state_fits(const dltensor& d, bool rows, int64_t L, int64_t B) const {
    if (out_) return rows ? shaped(d, {L, B, H_}) : shaped(d, {L, H_});
    return rows ? shaped(d, {B, H_}) : shaped(d, {H_});
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
      const int layer = fields_[i] / FIELDS, field = fields_[i++] % FIELDS;
      dltensor d;
      const bool whole = int8_ && field < 2;
      if (layer >= L || !(whole ? is(value, parameter_, d, nb::dlpack::dtype_code::Int, 8) : is(value, parameter_, d)))
        return false;
      StepCall<T>& c = calls[layer];
      const bool fits = field == 0   ? shaped(d, {GH, sizes_[size_t(layer)]})
                        : field == 1 ? shaped(d, {GH, H_})
                        : field == 4 ? shaped(d, {P_, H_})
                                     : shaped(d, {GH});
      if (!fits) return false;
      if (field > 4)
        (field == 5 ? c.w_scale : c.r_scale) = data<const float>(d);
      else
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

// One token a row: a table's vectors, a layer after the other, then linear layers. The streams' states are (B, H).
class TokenStream : StreamTensors {
 public:
  TokenStream(nb::object exchange, nb::object tensor, nb::object parameter, const Driver& driver, bool f64,
              std::vector<nb::object> streams, Observers observers)
      : StreamTensors(exchange, tensor, parameter, f64),
        observers_(std::move(observers)),
        driver_(driver),
        streams_(std::move(streams)) {}

  // tokens: (B,) int64; states: for each layer a tuple of its states; parameters: for each layer a dict of them; table: (V, E);
  // linears: (weight, bias or None) of each linear layer. Returns (the last layer's output, new states like `states`), or None
  // where anything is not as it must be.
  nb::object run(nb::handle tokens, nb::tuple states, nb::tuple parameters, nb::handle table, nb::tuple linears) const {
    if (!api_ || observers_.any()) return nb::none();
    return f64_ ? step<double>(tokens, states, parameters, table, linears, driver_.linear64)
                : step<float>(tokens, states, parameters, table, linears, driver_.linear32);
  }

 private:
  Observers observers_;
  const Driver& driver_;
  std::vector<nb::object> streams_;

  // The vectors (B, E) of tokens; None where the tokens or the table are not as they must be.
  template <class T>
  nb::object vectors(nb::handle tokens, nb::handle table) const {
    dltensor numbers, d;
    if (!is(tokens, tensor_, numbers, nb::dlpack::dtype_code::Int, 64) || numbers.ndim != 1 || !is(table, parameter_, d) ||
        d.ndim != 2)
      return nb::none();
    const int64_t *token = data<const int64_t>(numbers), B = numbers.shape[0], E = d.shape[1];
    for (int64_t b = 0; b < B; b++)
      if (B > STEP_ROWS || token[b] < 0 || token[b] >= d.shape[0]) return nb::none();
    T* to;
    nb::object rows = made(d, B, E, to);
    for (int64_t b = 0; b < B; b++) std::memcpy(to + b * E, data<const T>(d) + token[b] * E, size_t(E) * sizeof(T));
    return rows;
  }

  template <class T, class F>
  nb::object linear(nb::handle x, nb::handle weight, nb::handle bias, F run) const {
    dltensor dx, dw, db;
    if (!is(x, tensor_, dx) || !is(weight, parameter_, dw) || dw.ndim != 2 || !shaped(dx, {dx.shape[0], dw.shape[1]}))
      return nb::none();
    if (!bias.is_none() && !(is(bias, parameter_, db) && shaped(db, {dw.shape[0]}))) return nb::none();
    LinearCall<T> c = {dx.shape[0],
                       dw.shape[1],
                       dw.shape[0],
                       data<const T>(dx),
                       data<const T>(dw),
                       bias.is_none() ? nullptr : data<const T>(db),
                       nullptr};
    nb::object out = made(dx, c.B, c.V, c.out);
    PyThreadState* held = double(c.B) * double(c.V) * double(c.K) > 1e6 ? PyEval_SaveThread() : nullptr;
    run(c);
    if (held) PyEval_RestoreThread(held);
    return out;
  }

  template <class T, class F>
  nb::object step(nb::handle tokens, nb::tuple states, nb::tuple parameters, nb::handle table, nb::tuple linears,
                  F run) const {
    const size_t layers = streams_.size();
    if (nb::len(states) != layers || nb::len(parameters) != layers) return nb::none();
    nb::object x = vectors<T>(tokens, table);
    nb::list after;
    for (size_t l = 0; l < layers && !x.is_none(); l++) {
      const nb::object before = states[l], weights = parameters[l];
      if (!PyTuple_CheckExact(before.ptr()) || !PyDict_CheckExact(weights.ptr())) return nb::none();
      const bool one = PyTuple_Size(before.ptr()) == 1;
      const nb::object state = one ? nb::borrow(PyTuple_GetItem(before.ptr(), 0)) : before;
      nb::object fresh = nb::cast<const Stream&>(streams_[l]).run_unobserved(x, state, nb::borrow<nb::dict>(weights));
      if (fresh.is_none()) return fresh;
      if (one) fresh = nb::make_tuple(fresh);
      x = nb::borrow(PyTuple_GetItem(fresh.ptr(), 0));
      after.append(fresh);
    }
    for (size_t i = 0; i < nb::len(linears) && !x.is_none(); i++) {
      const nb::tuple pair = nb::cast<nb::tuple>(linears[i]);
      x = linear<T>(x, pair[0], pair[1], run);
    }
    return x.is_none() ? x : nb::object(nb::make_tuple(x, nb::tuple(after)));
  }
};

}  // namespace longspan
