// Layer normalisation of rows, forward and backward.
#pragma once
#include "shape.h"

namespace LS_ISA {
namespace {

// N sums that are computed side by side.
template <class T, int N>
struct Several {
  V<T> v[N];
  LS_INLINE Several() {
    for (int k = 0; k < N; k++) v[k] = V<T>(0.0);
  }
  template <class F>
  LS_INLINE explicit Several(F value) {
    for (int k = 0; k < N; k++) v[k] = value(k);
  }
  LS_INLINE Several& operator+=(const Several& o) {
    for (int k = 0; k < N; k++) v[k] += o.v[k];
    return *this;
  }
};

LS_INLINE float root(float x) { return __builtin_sqrtf(x); }
LS_INLINE double root(double x) { return __builtin_sqrt(x); }

// The sum of value(v) over n vectors, by four sums side by side, so that no addition waits for the one before it.
template <class S, class F>
LS_INLINE S row_sum(int n, F value) {
  S a{}, b{}, c{}, d{};
  int v = 0;
  for (; v + 4 <= n; v += 4) a += value(v), b += value(v + 1), c += value(v + 2), d += value(v + 3);
  for (; v < n; v++) a += value(v);
  a += b, c += d, a += c;
  return a;
}

// x with zeros on the row's padding; the mask is null where a row has no padding.
template <class T>
LS_INLINE V<T> masked(V<T> x, const T* mask, int v) {
  return mask ? x * V<T>::load(mask + v * V<T>::lanes) : x;
}

// Where one row's normalisation reads and writes; hat and rstd may be null, out may equal in.
template <class T>
struct NormRow {
  const T* in;
  T *hat, *out, *rstd;
};

// Layer normalisation of rows of `count` numbers in n vectors; the mask is 1 on the numbers and 0 on their padding.
// (Ba, Kiros and Hinton 2016, Layer Normalization, equations 3 and 4.)
template <class T>
struct LayerNorm {
  int n, count;
  const T *mask, *scale, *bias;
  bool non_temporal;  // how hat is stored

  // hat = (in - mean) / sqrt(variance + 1e-5), out = hat * scale + bias for rows row(0) .. row(rows - 1).
  template <class F>
  void forward(int rows, F row) const {
    int m = 0;
    for (; m + 2 <= rows; m += 2) normalise<2>({row(m), row(m + 1)});
    if (m < rows) normalise<1>({row(m)});
  }

  // N rows side by side: while one row's sum waits for its last addition, the other's goes on.
  template <int N>
  void normalise(const NormRow<T> (&row)[N]) const {
    constexpr int L = V<T>::lanes;
    typedef Several<T, N> Sums;
    const V<T> share(1.0 / count);
    auto number = [&](int k, int v) { return V<T>::load(row[k].in + v * L); };
    const Sums sum = row_sum<Sums>(n, [&](int v) { return Sums([&](int k) { return masked(number(k, v), mask, v); }); });
    const Sums mean([&](int k) { return total(sum.v[k]) * share; });
    const Sums square = row_sum<Sums>(n, [&](int v) {
      return Sums([&](int k) {
        const V<T> d = masked(number(k, v) - mean.v[k], mask, v);
        return d * d;
      });
    });
    const Sums rstd([&](int k) { return V<T>::all(T(1) / root(total(square.v[k]).v[0] / T(count) + T(1e-5))); });
    for (int v = 0; v < n; v++)
      for (int k = 0; k < N; k++) {
        const V<T> h = masked(number(k, v) - mean.v[k], mask, v) * rstd.v[k];
        if (row[k].hat) non_temporal ? h.store_non_temporal(row[k].hat + v * L) : h.store(row[k].hat + v * L);
        (h * V<T>::load(scale + v * L) + V<T>::load(bias + v * L)).store(row[k].out + v * L);
      }
    for (int k = 0; k < N; k++)
      if (row[k].rstd) *row[k].rstd = rstd.v[k].v[0];
  }
};

// What one row's backward normalisation reads: its hats, those of the row after it (to be fetched), its scale and its rstd.
template <class T>
struct NormBackward {
  const T *hat, *next, *scale;
  T rstd;
};

// The gradients of the inputs of N normalisations that share the gradient dy of hat * scale + bias. The n vectors of
// normalisation i's gradient go in runs of `run` vectors to to[i], to[i] + step, ...
template <int N, class T>
LS_INLINE void normalise_backward(const T* dy, const NormBackward<T> (&normal)[N], int n, const T* mask, int count,
                                  T* const (&to)[N], int run, ptrdiff_t step) {
  constexpr int L = V<T>::lanes;
  const V<T> share(1.0 / count);
  V<T> a[N], b[N];
  for (int i = 0; i < N; i++) {
    const NormBackward<T>& row = normal[i];
    typedef Several<T, 2> Sums;
    const Sums sums = row_sum<Sums>(n, [&](int v) {
      const V<T> d = V<T>::load(dy + v * L) * V<T>::load(row.scale + v * L);
      __builtin_prefetch(row.next + v * L);  // saved long ago: no longer in the cache
      return Sums([&](int k) { return k ? d * V<T>::load(row.hat + v * L) : d; });
    });
    a[i] = total(sums.v[0]) * share, b[i] = total(sums.v[1]) * share;
  }
  ptrdiff_t at = 0;
  for (int v0 = 0; v0 < n; v0 += run, at += step)
    for (int v = v0; v < v0 + run; v++) {
      const V<T> d = V<T>::load(dy + v * L);
      for (int i = 0; i < N; i++) {
        const V<T> scaled = d * V<T>::load(normal[i].scale + v * L), hat = V<T>::load(normal[i].hat + v * L);
        masked((scaled - a[i] - hat * b[i]) * V<T>::all(normal[i].rstd), mask, v).store(to[i] + at + (v - v0) * L);
      }
    }
}

}  // namespace
}  // namespace LS_ISA
