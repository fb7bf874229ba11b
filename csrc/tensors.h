// PyTorch's tensors as C++ sees them: where their numbers lie, without a header of PyTorch.
//
// Tensors are looked at and made through the table of C functions that DLPack's exchange protocol defines (PyTorch 2.10 and
// later give it as torch.Tensor.__dlpack_c_exchange_api__); before, by calling their own methods.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <vector>

#include "call.h"

namespace longspan {
namespace nb = nanobind;
using nb::dlpack::dltensor;

// The protocol's table, version 1.
struct Made;
struct Exchange {
  uint32_t major, minor;
  void* older;
  int (*make)(dltensor* like, Made** out, void* context, void (*error)(void*, const char*, const char*));
  int (*own)(void* object, void** out);
  int (*give)(Made* made, void** object);
  int (*look)(void* object, dltensor* out);
  int (*stream)(int32_t, int32_t, void**);
};

// A tensor on its way to Python.
struct Made {
  uint32_t major, minor;
  void* context;
  void (*deleter)(Made*);
  uint64_t flags;
  dltensor tensor;
};

// The table in a capsule; null where there is none, or another version's.
inline const Exchange* exchange_of(nb::handle capsule) {
  if (capsule.is_none()) return nullptr;
  const auto* api = static_cast<const Exchange*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (!api) throw nb::python_error();
  return api->major == 1 && api->look ? api : nullptr;
}

inline bool contiguous(const dltensor& d) {
  int64_t step = 1;
  for (int i = d.ndim - 1; i >= 0; i--) {
    if (d.shape[i] != 1 && d.strides && d.strides[i] != step) return false;
    step *= d.shape[i];
  }
  return true;
}

inline char* numbers(const dltensor& d) { return static_cast<char*>(d.data) + d.byte_offset; }

// The tensors of one call, one after the other: contiguous ones as they lie, copies of the others, which live as long as this.
class Tensors {
 public:
  Tensors(const Exchange* api, nb::tuple all) : api_(api), all_(all) {}

  // Where a tensor's numbers begin and end; null for None.
  struct Part {
    char *p = nullptr, *past = nullptr;
  };
  Part next() {
    Part part;
    if (!more()) throw std::out_of_range("a tensor is missing");
    const nb::handle object = PyTuple_GET_ITEM(all_.ptr(), at_++);
    if (!object.is_none()) look(object, part.p, part.past);
    return part;
  }

  // The next tensor's numbers, null for None: its part `d` of `parts` along the first dimension.
  template <class P>
  void operator()(P*& to, int d = 0, int parts = 1) {
    const Part part = next();
    to = reinterpret_cast<P*>(part.p ? part.p + (part.past - part.p) / parts * d : nullptr);
  }
  template <class P>
  void operator()(P* (&to)[MAX_STATES], int n, int d, int parts) {
    for (int i = 0; i < n; i++) (*this)(to[i], d, parts);
  }
  void pass(int n) { at_ += n; }
  bool more() const { return at_ < Py_ssize_t(nb::len(all_)); }

 private:
  const Exchange* api_;
  nb::tuple all_;
  Py_ssize_t at_ = 0;
  std::vector<nb::object> copies_;

  void look(nb::handle object, char*& p, char*& past) {
    dltensor d;
    if (api_ && !api_->look(object.ptr(), &d)) {
      if (contiguous(d)) {
        int64_t n = d.dtype.bits / 8;
        for (int i = 0; i < d.ndim; i++) n *= d.shape[i];
        p = numbers(d), past = p + n;
        return;
      }
    } else if (api_) {
      PyErr_Clear();
    }
    const nb::object whole = object.attr("contiguous")();
    copies_.push_back(whole);
    p = reinterpret_cast<char*>(nb::cast<uintptr_t>(whole.attr("data_ptr")()));
    past = p + nb::cast<int64_t>(whole.attr("nbytes"));
  }
};

}  // namespace longspan
