// The next token from a row of logits, in two calls: the network's probabilities mixed with others, and one token drawn by
// them. For vocabularies of characters a handful of PyTorch's calls would take longer than the arithmetic.
//
// Only where DLPack's exchange protocol is there (tensors.h).
#pragma once
#include <algorithm>
#include <cmath>

#include "stream.h"

namespace longspan {

class NextToken : StreamTensors {
 public:
  NextToken(nb::object exchange, nb::object tensor, bool f64) : StreamTensors(exchange, tensor, tensor, f64) {}

  using Shares = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

  // log((1 - weight) softmax(logits) + weight shares) + bias, (1, V); logits: (1, V); shares: (V,); bias: (V,). None where a
  // tensor is not as it must be.
  nb::object mixed(nb::handle logits, const Shares& shares, double weight, nb::handle bias) const {
    if (!api_) return nb::none();
    return f64_ ? mix<double>(logits, shares, weight, bias) : mix<float>(logits, shares, weight, bias);
  }

  // The column (1,) int64 of the highest logit minus logarithm of its variate; logits, variates: (1, V), the variates
  // positive. None where a tensor is not as it must be, or where no score is a number above minus infinity.
  nb::object drawn(nb::handle logits, nb::handle variates) const {
    if (!api_) return nb::none();
    return f64_ ? draw<double>(logits, variates) : draw<float>(logits, variates);
  }

 private:
  template <class T>
  nb::object mix(nb::handle logits, const Shares& shares, double weight, nb::handle bias) const {
    dltensor d, b;
    if (!is(logits, tensor_, d) || d.ndim != 2 || d.shape[0] != 1) return nb::none();
    const int64_t V = d.shape[1];
    if (int64_t(shares.shape(0)) != V || !is(bias, tensor_, b) || !shaped(b, {V})) return nb::none();
    const T *x = data<const T>(d), *add = data<const T>(b);
    const double highest = double(*std::max_element(x, x + V));
    T* out;
    nb::object made_ = made(d, out);
    double sum = 0;
    for (int64_t v = 0; v < V; v++) sum += std::exp(double(x[v]) - highest);
    const double scale = (1 - weight) / sum;
    for (int64_t v = 0; v < V; v++)
      out[v] = T(std::log(scale * std::exp(double(x[v]) - highest) + weight * shares(size_t(v)))) + add[v];
    return made_;
  }

  template <class T>
  nb::object draw(nb::handle logits, nb::handle variates) const {
    dltensor d, e;
    if (!is(logits, tensor_, d) || d.ndim != 2 || d.shape[0] != 1 || !is(variates, tensor_, e) ||
        !shaped(e, {1, d.shape[1]}))
      return nb::none();
    const T *x = data<const T>(d), *variate = data<const T>(e);
    int64_t best = -1;
    T highest = -std::numeric_limits<T>::infinity();
    for (int64_t v = 0; v < d.shape[1]; v++) {
      const T score = x[v] - std::log(variate[v]);
      if (score != score) return nb::none();
      if (score > highest) highest = score, best = v;
    }
    if (best < 0) return nb::none();
    int64_t shape[1] = {1}, *to;
    dltensor like = d;
    like.ndim = 1, like.shape = shape, like.strides = nullptr, like.byte_offset = 0;
    like.dtype.code = uint8_t(nb::dlpack::dtype_code::Int), like.dtype.bits = 64;
    nb::object column = made(like, to);
    *to = best;
    return column;
  }
};

}  // namespace longspan
