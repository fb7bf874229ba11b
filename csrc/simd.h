// The one vector type of every instruction set, its arithmetic and its elementary functions.
//
// GCC/Clang vector extensions: the same source serves AVX-512, AVX2, SSE2 and NEON; LS_BYTES is the register's
// width. Everything is in an unnamed namespace inside the instruction set's own, so that no function compiled for
// one set can be linked into another.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef LS_ISA
#error "compile with -DLS_ISA=name -DLS_BYTES=register width in bytes"
#endif

namespace LS_ISA {
namespace {

#ifdef __SANITIZE_ADDRESS__  // with its checks, functions inlined throughout take the compiler many minutes
#define LS_INLINE inline
#else
#define LS_INLINE inline __attribute__((always_inline))
#endif

// Vector registers of the instruction set.
#if LS_BYTES == 64 || defined(__aarch64__)
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif

typedef float F32 __attribute__((vector_size(LS_BYTES)));
typedef int32_t I32 __attribute__((vector_size(LS_BYTES)));
typedef double F64 __attribute__((vector_size(LS_BYTES)));
typedef int64_t I64 __attribute__((vector_size(LS_BYTES)));

template <class T>
struct Traits;
template <>
struct Traits<float> {
  typedef F32 F;
  typedef I32 I;
  typedef int32_t Int;
};
template <>
struct Traits<double> {
  typedef F64 F;
  typedef I64 I;
  typedef int64_t Int;
};

// V<float> holds LANES numbers; V<float>(2.0) is that constant in every lane.
template <class T>
struct V {
  typedef typename Traits<T>::F F;
  typedef typename Traits<T>::I I;
  typedef T Scalar;
  static constexpr int lanes = LS_BYTES / sizeof(T);
  F v;
  V() = default;
  LS_INLINE V(F a) : v(a) {}
  LS_INLINE explicit V(double c) : v(F{} + T(c)) {}
  static LS_INLINE V load(const T* p) {
    F a;
    std::memcpy(&a, p, sizeof a);
    return a;
  }
  // The first n lanes from p, the rest zero; n may be 0.
  static LS_INLINE V load(const T* p, int n) {
    if (n >= lanes) return load(p);
#if defined(__AVX512F__) && LS_BYTES == 64
    if constexpr (sizeof(T) == 4) return F(_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p));
    if constexpr (sizeof(T) == 8) return F(_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p));
#endif
    T a[lanes] = {};
    for (int i = 0; i < n; i++) a[i] = p[i];
    return load(a);
  }
  static LS_INLINE V all(T a) { return a - F{}; }  // a + 0 would not be a for a = -0, and so would be computed
  LS_INLINE void store(T* p) const { std::memcpy(p, &v, sizeof v); }
  LS_INLINE void store(T* p, int n) const {
    if (n >= lanes) return store(p);
#if defined(__AVX512F__) && LS_BYTES == 64
    if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), __m512(v));
    if constexpr (sizeof(T) == 8) return _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), __m512d(v));
#endif
    T a[lanes];
    store(a);
    for (int i = 0; i < n; i++) p[i] = a[i];
  }
  // Non-temporal: past the caches, for what is not read soon. p is aligned to a register; store_fence() before others read.
  LS_INLINE void store_non_temporal(T* p) const {
#if defined(__AVX512F__) && LS_BYTES == 64
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), __m512i(v));
#elif defined(__AVX2__) && LS_BYTES == 32
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), __m256i(v));
#elif defined(__SSE2__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), __m128i(v));
#else
    store(p);
#endif
  }
};
// Makes non-temporal stores visible to other threads.
LS_INLINE void store_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <class T> LS_INLINE V<T> operator+(V<T> a, V<T> b) { return a.v + b.v; }
template <class T> LS_INLINE V<T> operator-(V<T> a, V<T> b) { return a.v - b.v; }
template <class T> LS_INLINE V<T> operator*(V<T> a, V<T> b) { return a.v * b.v; }
template <class T> LS_INLINE V<T> operator/(V<T> a, V<T> b) { return a.v / b.v; }
template <class T> LS_INLINE V<T> operator-(V<T> a) { return -a.v; }
template <class T> LS_INLINE V<T>& operator+=(V<T>& a, V<T> b) {
  a.v += b.v;
  return a;
}

// Where m is all ones, a; where it is zero, b.
template <class T> LS_INLINE V<T> pick(typename V<T>::I m, V<T> a, V<T> b) { return m ? a.v : b.v; }

// A NaN on either side comes out as NaN: nothing may hide one.
template <class T> LS_INLINE V<T> maximum(V<T> a, V<T> b) { return pick<T>((a.v > b.v) | (a.v != a.v), a, b); }
template <class T> LS_INLINE V<T> minimum(V<T> a, V<T> b) { return pick<T>((a.v < b.v) | (a.v != a.v), a, b); }
template <class T> LS_INLINE V<T> gt(V<T> a, V<T> b) { return pick<T>(a.v > b.v, V<T>(1.0), V<T>(0.0)); }
template <class T> LS_INLINE V<T> relu(V<T> a) { return pick<T>(a.v < V<T>(0.0).v, V<T>(0.0), a); }
template <class T> LS_INLINE V<T> abs(V<T> a) { return pick<T>(a.v < V<T>(0.0).v, -a, a); }
// lo <= x <= hi, one instruction a side; NaN stays NaN (the second operand of a NaN comparison is what x86 returns).
template <class T> LS_INLINE V<T> clamp(V<T> x, double lo, double hi) {
  const V<T> a(lo), b(hi);
#if defined(__AVX512F__) && LS_BYTES == 64
  if constexpr (sizeof(T) == 4)
    return F32(_mm512_min_ps(__m512(b.v), _mm512_max_ps(__m512(a.v), __m512(x.v))));
  else
    return F64(_mm512_min_pd(__m512d(b.v), _mm512_max_pd(__m512d(a.v), __m512d(x.v))));
#elif defined(__AVX2__) && LS_BYTES == 32
  if constexpr (sizeof(T) == 4)
    return F32(_mm256_min_ps(__m256(b.v), _mm256_max_ps(__m256(a.v), __m256(x.v))));
  else
    return F64(_mm256_min_pd(__m256d(b.v), _mm256_max_pd(__m256d(a.v), __m256d(x.v))));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4)
    return F32(_mm_min_ps(__m128(b.v), _mm_max_ps(__m128(a.v), __m128(x.v))));
  else
    return F64(_mm_min_pd(__m128d(b.v), _mm_max_pd(__m128d(a.v), __m128d(x.v))));
#else
  x = pick<T>(x.v < a.v, a, x);
  return pick<T>(x.v > b.v, b, x);
#endif
}

// N vectors, every operation done on each: the chains of operations of N rows side by side, where one alone would leave the
// machine waiting for its own results.
template <class T, int N>
struct Abreast {
  typedef T Scalar;
  V<T> v[N];
  Abreast() = default;
  LS_INLINE explicit Abreast(double c) {
    for (int k = 0; k < N; k++) v[k] = V<T>(c);
  }
};
#define LS_EACH_OF_TWO(head, value)                                                          \
  template <class T, int N> LS_INLINE Abreast<T, N> head(Abreast<T, N> a, Abreast<T, N> b) { \
    Abreast<T, N> y;                                                                         \
    for (int k = 0; k < N; k++) y.v[k] = value;                                              \
    return y;                                                                                \
  }
#define LS_EACH(head, value)                                                \
  template <class T, int N> LS_INLINE Abreast<T, N> head(Abreast<T, N> a) { \
    Abreast<T, N> y;                                                        \
    for (int k = 0; k < N; k++) y.v[k] = value;                             \
    return y;                                                               \
  }
LS_EACH_OF_TWO(operator+, a.v[k] + b.v[k])
LS_EACH_OF_TWO(operator-, a.v[k] - b.v[k])
LS_EACH_OF_TWO(operator*, a.v[k] * b.v[k])
LS_EACH_OF_TWO(operator/, a.v[k] / b.v[k])
LS_EACH_OF_TWO(maximum, maximum(a.v[k], b.v[k]))
LS_EACH_OF_TWO(gt, gt(a.v[k], b.v[k]))
LS_EACH_OF_TWO(minimum, minimum(a.v[k], b.v[k]))
LS_EACH(operator-, -a.v[k])
LS_EACH(relu, relu(a.v[k]))
LS_EACH(abs, abs(a.v[k]))
template <class T, int N> LS_INLINE Abreast<T, N> clamp(Abreast<T, N> x, double lo, double hi) {
  for (int k = 0; k < N; k++) x.v[k] = clamp(x.v[k], lo, hi);
  return x;
}

#if defined(__AVX512F__) && LS_BYTES == 64
#define LS_POWERS_OF_TWO 1  // scaling by 2^n, rounding and what it leaves are instructions of their own

LS_INLINE V<float> scaled(V<float> x, V<float> n) {
  return F32(_mm512_scalef_ps(__m512(x.v), __m512(n.v)));
}  // x 2^floor(n)
LS_INLINE V<float> rounded(V<float> x) {
  return F32(_mm512_roundscale_ps(__m512(x.v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
LS_INLINE V<float> above_floor(V<float> x) {  // x - floor(x)
  return F32(_mm512_reduce_ps(__m512(x.v), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
}
LS_INLINE V<float> at_most(V<float> x, double hi) { return F32(_mm512_min_ps(__m512(V<float>(hi).v), __m512(x.v))); }
LS_INLINE V<float> about_inverse(V<float> x) { return F32(_mm512_rcp14_ps(__m512(x.v))); }
LS_EACH_OF_TWO(scaled, scaled(a.v[k], b.v[k]))
LS_EACH(rounded, rounded(a.v[k]))
LS_EACH(above_floor, above_floor(a.v[k]))
LS_EACH(about_inverse, about_inverse(a.v[k]))
template <int N> LS_INLINE Abreast<float, N> at_most(Abreast<float, N> x, double hi) {
  for (int k = 0; k < N; k++) x.v[k] = at_most(x.v[k], hi);
  return x;
}
#endif

// a / b for b between 2^-125 and 2^125, to the last bit but one: a table and one step of Newton's where that is quicker.
template <class W> LS_INLINE W quotient(W a, W b) {
#ifdef LS_POWERS_OF_TWO
  if constexpr (sizeof(typename W::Scalar) == 4) {
    const W r = about_inverse(b);
    return a * (r + r * (W(1.0) - b * r));
  }
#endif
  return a / b;
}

// Lanes of two vectors, a's counted from 0 and b's from L, after one round of a transposition with distance h.
template <class T, int h>
struct Exchange {
  static constexpr int L = V<T>::lanes;
  typename Traits<T>::Int low[L], high[L];
  constexpr Exchange() : low(), high() {
    for (int l = 0; l < L; l++) low[l] = l & h ? L + l - h : l, high[l] = l & h ? L + l : l + h;
  }
};
template <class T, int h> constexpr Exchange<T, h> EXCHANGE{};

// For the lanes with bit h, x and y exchange halves. The tables are constants: indices worked out in place would be put
// together lane by lane at run time.
template <int h, class T> LS_INLINE void exchange(V<T>& x, V<T>& y) {
  const typename V<T>::F a = x.v, b = y.v;
#if defined(__clang__)
  for (int l = 0; l < V<T>::lanes; l++) {
    x.v[l] = l & h ? b[l - h] : a[l];
    y.v[l] = l & h ? b[l] : a[l + h];
  }
#else
  typename V<T>::I low, high;
  std::memcpy(&low, EXCHANGE<T, h>.low, sizeof low), std::memcpy(&high, EXCHANGE<T, h>.high, sizeof high);
  x.v = __builtin_shuffle(a, b, low), y.v = __builtin_shuffle(a, b, high);
#endif
}

// r[i] lane j <-> r[j] lane i
template <int h, class T> LS_INLINE void transpose_from(V<T> (&r)[V<T>::lanes]) {
  for (int i = 0; i < V<T>::lanes; i++)
    if (!(i & h)) exchange<h>(r[i], r[i + h]);
  if constexpr (h > 1) transpose_from<h / 2>(r);
}
template <class T> LS_INLINE void transpose(V<T> (&r)[V<T>::lanes]) { transpose_from<V<T>::lanes / 2>(r); }

// Lane i of the result is the sum of all lanes of r[i].
template <int h, class T> LS_INLINE void sums_from(V<T> (&r)[V<T>::lanes]) {
  for (int i = 0; i < h; i++) exchange<h>(r[i], r[i + h]), r[i] += r[i + h];
  if constexpr (h > 1) sums_from<h / 2>(r);
}
template <class T> LS_INLINE V<T> sums_of_each(V<T> (&r)[V<T>::lanes]) {
  sums_from<V<T>::lanes / 2>(r);
  return r[0];
}

// The sum of all lanes, in every lane.
template <int h, class T> LS_INLINE V<T> total_from(V<T> a) {
  V<T> b = a;
  exchange<h>(a, b);
  a += b;
  if constexpr (h > 1) return total_from<h / 2>(a);
  return a;
}
template <class T> LS_INLINE V<T> total(V<T> a) { return total_from<V<T>::lanes / 2>(a); }

template <class T> LS_INLINE V<T> sqrt(V<T> a) {
  V<T> y;
  for (int i = 0; i < V<T>::lanes; i++) y.v[i] = __builtin_sqrt(a.v[i]);
  return y;
}

// x = n ln 2 + r with |r| <= ln 2 / 2; returns exp(r) - 1 and 2^n. For float a minimax polynomial (its error is 3e-9),
// for double Taylor's series.
LS_INLINE V<float> exp_parts(V<float> x, V<float>& scale) {
  const V<float> shift(12582912.0);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  V<float> k = x * V<float>(1.44269504088896341) + shift;
  scale.v = (F32)(((I32)k.v + 127) << 23);
  k = k - shift;
#if defined(__FMA__) || defined(__aarch64__)
  const V<float> r = x - k * V<float>(0.693147180559945309);  // unrounded product: the constant's own error, 2e-9, is all
#else
  const V<float> r = x - k * V<float>(0.693145751953125) - k * V<float>(1.42860682030941723e-6);
#endif
  V<float> q = r * V<float>(1.3950540090278477e-3) + V<float>(8.36891790967141e-3);
  q = q * r + V<float>(4.1666205069470275e-2);
  q = q * r + V<float>(0.16666518602150676);
  q = q * r + V<float>(0.5000000095412753);
  return q * (r * r) + r;
}
LS_INLINE V<double> exp_parts(V<double> x, V<double>& scale) {
  const V<double> shift(6755399441055744.0);  // 1.5 * 2^52
  V<double> k = x * V<double>(1.44269504088896340736) + shift;
  scale.v = (F64)(((I64)k.v + 1023) << 52);
  k = k - shift;
  V<double> r = x - k * V<double>(6.93147180369123816490e-01);
  r = r - k * V<double>(1.90821492927058770002e-10);
  V<double> q = r * V<double>(1.0 / 6227020800.0) + V<double>(1.0 / 479001600.0);
  q = q * r + V<double>(1.0 / 39916800.0);
  q = q * r + V<double>(1.0 / 3628800.0);
  q = q * r + V<double>(1.0 / 362880.0);
  q = q * r + V<double>(1.0 / 40320.0);
  q = q * r + V<double>(1.0 / 5040.0);
  q = q * r + V<double>(1.0 / 720.0);
  q = q * r + V<double>(1.0 / 120.0);
  q = q * r + V<double>(1.0 / 24.0);
  q = q * r + V<double>(1.0 / 6.0);
  q = q * r + V<double>(0.5);
  return q * r * r + r;
}
template <class T> constexpr double exp_lowest() { return sizeof(T) == 4 ? -87.33 : -708.39; }
template <class T> constexpr double exp_highest() { return sizeof(T) == 4 ? 88.37 : 709.43; }

// Below the smallest normal number it is 0; above the largest, infinity.
template <class T> LS_INLINE V<T> exp(V<T> x) {
  V<T> scale, e = exp_parts(clamp(x, exp_lowest<T>(), exp_highest<T>()), scale);
  V<T> y = scale * e + scale;
  y = pick<T>(x.v < V<T>(exp_lowest<T>()).v, V<T>(0.0), y);
  return pick<T>(x.v > V<T>(exp_highest<T>()).v, V<T>(__builtin_inf()), y);
}

#ifdef LS_POWERS_OF_TWO
// 1 / (1 + 2^t), t = -x log2 e: 2^t = 2^floor(t) 2^f with a minimax polynomial for 2^f on [0, 1), error 7.5e-8. Rounding t
// costs a relative t 2^-24 of 2^t, which the flat ends of the curve make good.
template <class W> LS_INLINE W sigmoid_of_powers(W x) {
  const W t = x * W(-1.44269504088896341), f = above_floor(t);
  W p = f * W(0.001877576628734584) + W(0.008989340202935903);
  p = p * f + W(0.05582631795892615);
  p = p * f + W(0.24015361707625987);
  p = p * f + W(0.6931530731964785);
  p = p * f + W(0.9999999250635913);
  return quotient(W(1.0), at_most(W(1.0) + scaled(p, t), 4e37));
}

// (2^t - 1) / (2^t + 1), t = 2 x log2 e, through (2^f - 1) so that small x keep their relative accuracy.
template <class W> LS_INLINE W tanh_of_powers(W x) {
  const W t = clamp(x * W(2.88539008177792681), -30.0, 30.0), k = rounded(t), f = t - k;
  W p = f * W(0.000154763084367209) + W(0.0013400262000678592);
  p = p * f + W(0.009618003878573166);
  p = p * f + W(0.05550327842648059);
  p = p * f + W(0.24022651345781817);
  p = p * f + W(0.6931472061902068);
  const W scale = scaled(W(1.0), k);
  const W m = scale * (p * f) + (scale - W(1.0));
  return quotient(m, m + W(2.0));
}
#endif

// 1 / (1 + e^-x); beyond the clamp the answer is 0 or 1 to the last bit.
template <class T> LS_INLINE V<T> sigmoid(V<T> x) {
#ifdef LS_POWERS_OF_TWO
  if constexpr (sizeof(T) == 4) return sigmoid_of_powers(x);
#endif
  const double far = sizeof(T) == 4 ? 86.0 : 700.0;
  V<T> scale, e = exp_parts(clamp(-x, -far, far), scale);
  return quotient(V<T>(1.0), scale * e + (scale + V<T>(1.0)));
}

// (e^2x - 1) / (e^2x + 1) through exp(r) - 1, so that small x keep their relative accuracy.
template <class T> LS_INLINE V<T> tanh(V<T> x) {
#ifdef LS_POWERS_OF_TWO
  if constexpr (sizeof(T) == 4) return tanh_of_powers(x);
#endif
  const double far = sizeof(T) == 4 ? 20.0 : 44.0;
  V<T> scale, e = exp_parts(clamp(x + x, -far, far), scale);
  const V<T> m = scale * e + (scale - V<T>(1.0));
  return quotient(m, m + V<T>(2.0));
}

// x = m 2^k with sqrt(1/2) <= m < sqrt(2); log(x) = k ln 2 + 2 atanh((m - 1) / (m + 1)).
template <class T> LS_INLINE V<T> log(V<T> x) {
  typedef typename V<T>::I I;
  const int bits = sizeof(T) == 4 ? 23 : 52;
  typedef typename Traits<T>::Int Int;
  const Int half = sizeof(T) == 4 ? Int(0x3f3504f3) : Int(0x3fe6a09e667f3bcdLL);  // sqrt(1/2)
  I b = (I)x.v - half;
  I k = b >> bits;
  V<T> m = (typename V<T>::F)((I)x.v - (k << bits));
  V<T> n = __builtin_convertvector(k, typename V<T>::F);
  V<T> s = (m - V<T>(1.0)) / (m + V<T>(1.0)), z = s * s;
  V<T> q(sizeof(T) == 4 ? 1.0 / 11 : 1.0 / 23);
  for (int i = sizeof(T) == 4 ? 9 : 21; i > 1; i -= 2) q = q * z + V<T>(1.0 / i);
  V<T> y = (s + s) * (q * z) + (s + s) + n * V<T>(0.693147180559945309417);
  y = pick<T>(x.v == V<T>(0.0).v, V<T>(-__builtin_inf()), y);
  y = pick<T>(x.v == V<T>(__builtin_inf()).v, x, y);
  return pick<T>((x.v < V<T>(0.0).v) | (x.v != x.v), V<T>(__builtin_nan("")), y);
}

// log(1 + e^x)
template <class T> LS_INLINE V<T> softplus(V<T> x) { return relu(x) + log(V<T>(1.0) + exp(-abs(x))); }

// The same of several vectors.
#ifdef LS_POWERS_OF_TWO
template <int N> LS_INLINE Abreast<float, N> sigmoid(Abreast<float, N> x) { return sigmoid_of_powers(x); }
template <int N> LS_INLINE Abreast<float, N> tanh(Abreast<float, N> x) { return tanh_of_powers(x); }
#endif
LS_EACH(sigmoid, sigmoid(a.v[k]))
LS_EACH(tanh, tanh(a.v[k]))
LS_EACH(exp, exp(a.v[k]))
LS_EACH(log, log(a.v[k]))
LS_EACH(sqrt, sqrt(a.v[k]))
LS_EACH(softplus, softplus(a.v[k]))
#undef LS_EACH
#undef LS_EACH_OF_TWO

}  // namespace
}  // namespace LS_ISA
