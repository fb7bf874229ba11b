// Products of int8 weights with activations that are rounded to int8 row by row: exact sums of whole numbers, scaled once.
//
//   out[u] = w_scale[u] * scale * sum over k of w[u][k] * q[k],    q[k] = round(a[k] * 127 / max |a|),  scale = max |a| / 127
#pragma once
#include "packing.h"

namespace LS_ISA {
namespace {

constexpr int INT8_BLOCK = 64;  // rows of rounded activations are padded with zeros to a multiple of this
LS_INLINE int64_t int8_padded(int64_t n) { return ceil_div(n, INT8_BLOCK) * INT8_BLOCK; }

// Activations whose largest magnitude is below this count as zeros: its inverse would overflow.
constexpr float INT8_TINY = 1e-30f;

// The nearest whole numbers, ties to even.
LS_INLINE I32 nearest(V<float> x) {
#if defined(__AVX512F__) && LS_BYTES == 64
  return I32(_mm512_cvtps_epi32(__m512(x.v)));
#elif defined(__AVX2__) && LS_BYTES == 32
  return I32(_mm256_cvtps_epi32(__m256(x.v)));
#elif defined(__SSE2__)
  return I32(_mm_cvtps_epi32(__m128(x.v)));
#else
  I32 y;
  for (int l = 0; l < V<float>::lanes; l++) y[l] = int32_t(__builtin_rintf(x.v[l]));
  return y;
#endif
}

// Rounds n activations to q, padded with zeros to int8_padded(n), and returns their scale: NaN where one is not finite.
inline float int8_round(const float* a, int64_t n, int8_t* q) {
  constexpr int L = V<float>::lanes;
  typedef int8_t Bytes __attribute__((vector_size(L)));
  V<float> largest(0.0);
  for (int64_t k = 0; k < n; k += L) largest = maximum(abs(V<float>::load(a + k, int(least<int64_t>(L, n - k)))), largest);
  float most = 0;
  for (int l = 0; l < L; l++) most = largest.v[l] > most || largest.v[l] != largest.v[l] ? largest.v[l] : most;
  const bool finite = most < __builtin_inff();  // false for NaN too
  const V<float> inverse(finite && most >= INT8_TINY ? 127.0f / most : 0.0f);
  const int64_t padded = int8_padded(n);
  for (int64_t k = 0; k < padded; k += L) {
    const V<float> v = k < n && finite ? V<float>::load(a + k, int(least<int64_t>(L, n - k))) : V<float>(0.0);
    const Bytes bytes = __builtin_convertvector(nearest(v * inverse), Bytes);
    std::memcpy(q + k, &bytes, sizeof bytes);
  }
  return finite ? most / 127.0f : __builtin_nanf("");
}

// Lane i of the result is the sum of all lanes of r[i].
template <int h> LS_INLINE void int8_sums_from(I32 (&r)[V<float>::lanes]) {
  for (int i = 0; i < h; i++) {
    V<float> a((F32)r[i]), b((F32)r[i + h]);  // the bits alone: lanes change places
    exchange<h>(a, b);
    r[i] = (I32)a.v + (I32)b.v;
  }
  if constexpr (h > 1) int8_sums_from<h / 2>(r);
}

#if defined(__AVX512BW__) && LS_BYTES == 64
#define LS_INT8_LANES 1
typedef __m256i Int8s;  // numbers that are multiplied at once
struct Int8Factor {     // the activations of a block, as dot() takes them
  __m512i a;
  LS_INLINE explicit Int8Factor(Int8s q) : a(_mm512_cvtepi8_epi16(q)) {}
  LS_INLINE I32 dot(Int8s w) const { return I32(_mm512_madd_epi16(a, _mm512_cvtepi8_epi16(w))); }
};
#elif defined(__AVX2__) && LS_BYTES == 32
#define LS_INT8_LANES 1
typedef __m256i Int8s;
struct Int8Factor {
  __m256i a, magnitude;
  LS_INLINE explicit Int8Factor(Int8s q) : a(q), magnitude(_mm256_abs_epi8(q)) {}
  LS_INLINE I32 dot(Int8s w) const {
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w, a));  // 2 * 127 * 127 fits in an int16
    return I32(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};
#endif

// Lane l is the sum of w[l][k] q[k] over K numbers, for the `valid` rows of w from `w` on, of a matrix that ends before `end`;
// beyond them the last is repeated. q is padded with zeros. next: the rows that are read after these, fetched meanwhile; or null.
LS_INLINE I32 int8_dots(const int8_t* w, int64_t K, int valid, const int8_t* end, const int8_t* q, const int8_t* next) {
  constexpr int L = V<float>::lanes;
  const int8_t* row[L];
  I32 sums[L];
  for (int l = 0; l < L; l++) row[l] = w + least(l, valid - 1) * K, sums[l] = I32{};
#ifdef LS_INT8_LANES
  constexpr int N = sizeof(Int8s);
  const auto load = [](const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const Int8s*>(p)); };
  const int8_t* const ahead = next ? next : w;
  int64_t k = 0;
  for (; k + 2 * N <= K; k += 2 * N) {  // a line of the cache of each row
    const Int8Factor a(load(q + k)), b(load(q + k + N));
#pragma GCC unroll 16
    for (int l = 0; l < L; l++) {
      __builtin_prefetch(ahead + l * K + k);
      sums[l] += a.dot(load(row[l] + k)) + b.dot(load(row[l] + k + N));
    }
  }
  for (; k + N <= K; k += N) {
    const Int8Factor a(load(q + k));
    for (int l = 0; l < L; l++) sums[l] += a.dot(load(row[l] + k));
  }
  if (k < K) {
    const Int8Factor a(load(q + k));
    for (int l = 0; l < L; l++) {
      int8_t few[N] = {};
      const bool inside = end - row[l] >= k + N;  // whatever follows the row meets zeros of q
      if (!inside) std::memcpy(few, row[l] + k, size_t(K - k));
      sums[l] += a.dot(load(inside ? row[l] + k : few));
    }
  }
#else
  for (int l = 0; l < L; l++) {
    int32_t sum = 0;
    for (int64_t k = 0; k < K; k++) sum += int32_t(row[l][k]) * int32_t(q[k]);
    sums[l][0] = sum;
  }
  (void)end, (void)next;
#endif
  int8_sums_from<L / 2>(sums);
  return sums[0];
}

// A matrix of int8 weights (G*H, K) with the scale of each row.
struct Int8Matrix {
  const int8_t* w;
  const float* scale;
  int64_t K;
  int G, H;

  // The products of the rows of gate g and unit u with one row of activations. fetch: whether the rows of the next gate, or
  // of the next unit's first, are fetched meanwhile.
  LS_INLINE V<float> times(int u, int g, const int8_t* q, float q_scale, bool fetch) const {
    constexpr int L = V<float>::lanes;
    const int64_t first = (int64_t)g * H + u * L;
    const int valid = least(L, H - u * L);
    const int64_t next = g + 1 < G ? first + H : (int64_t)(u + 1) * L;
    const I32 sums = int8_dots(w + first * K, K, valid, w + (int64_t)G * H * K, q, fetch ? w + next * K : nullptr);
    return V<float>(__builtin_convertvector(sums, F32)) * (V<float>::load(scale + first, valid) * V<float>::all(q_scale));
  }

  // out(m, v) = start(v - v0) + the products of row m, for vectors v0 .. v0 + n - 1 of (U, G) and rows of rounded activations,
  // each `q_row` apart. All rows meet a vector's weights while they are in the nearest cache.
  void product(const int8_t* q, ptrdiff_t q_row, const float* q_scale, int rows, int v0, int n, const float* start,
               float* out, ptrdiff_t out_row) const {
    constexpr int L = V<float>::lanes;
    for (int v = v0; v < v0 + n; v++) {
      const V<float> first = start ? V<float>::load(start + (v - v0) * L) : V<float>(0.0);
      for (int m = 0; m < rows; m++)
        (first + times(v / G, v % G, q + m * q_row, q_scale[m], m == 0)).store(out + m * out_row + (v - v0) * L);
    }
  }
};

#ifdef LS_INT8_LANES
constexpr bool INT8_PACKS = true;
#if LS_BYTES == 64
typedef __m512i Int8Vector;
LS_INLINE Int8Vector int8_magnitude(Int8Vector a) { return _mm512_abs_epi8(a); }
// w where a >= 0, -w where a < 0.
LS_INLINE Int8Vector int8_signed(Int8Vector w, Int8Vector a) {
  return _mm512_mask_sub_epi8(w, _mm512_movepi8_mask(a), _mm512_setzero_si512(), w);
}
LS_INLINE I32 int8_fours(Int8Vector magnitude, Int8Vector w) {
  return I32(_mm512_madd_epi16(_mm512_maddubs_epi16(magnitude, w), _mm512_set1_epi16(1)));
}
#else
typedef __m256i Int8Vector;
LS_INLINE Int8Vector int8_magnitude(Int8Vector a) { return _mm256_abs_epi8(a); }
LS_INLINE Int8Vector int8_signed(Int8Vector w, Int8Vector a) { return _mm256_sign_epi8(w, a); }
LS_INLINE I32 int8_fours(Int8Vector magnitude, Int8Vector w) {
  return I32(_mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, w), _mm256_set1_epi16(1)));
}
#endif

// acc[m][v] += the products of M rows q and NV vectors of a packed matrix: four numbers of each of L rows at a time. Vector v
// of step k at b + (v / WIDE) * group_step + (k * WIDE + v % WIDE) * L numbers of four bytes.
template <int M, int NV, int WIDE>
LS_INLINE void int8_multiply(const int8_t* q, ptrdiff_t q_row, int fours, const float* b, ptrdiff_t group_step,
                             I32 (&acc)[M][NV]) {
  constexpr int L = V<float>::lanes;
  for (int k = 0; k < fours; k++, b += WIDE * L) {
    const auto load = [&](int v) {
      Int8Vector w;
      std::memcpy(&w, b + v / WIDE * group_step + v % WIDE * L, sizeof w);
      return w;
    };
    Int8Vector a[M];
    for (int m = 0; m < M; m++) {
      int32_t four;
      std::memcpy(&four, q + m * q_row + 4 * k, sizeof four);
      a[m] = (Int8Vector)(I32{} + four);
    }
    const Int8Vector a_magnitude = int8_magnitude(a[0]);
#pragma GCC unroll 16
    for (int v = 0; v < NV; v++) {
      const Int8Vector w = load(v);
      if constexpr (M == 1) {  // the magnitudes of those that are fewer
        acc[0][v] += int8_fours(a_magnitude, int8_signed(w, a[0]));
      } else {
        const Int8Vector magnitude = int8_magnitude(w);
        for (int m = 0; m < M; m++) acc[m][v] += int8_fours(magnitude, int8_signed(a[m], w));
      }
    }
  }
}
#else
constexpr bool INT8_PACKS = false;  // rows are multiplied where they lie
#endif

// Whether a matrix of K columns is packed, four columns as one number of pack_gates, for products with so many rows: with
// few, packing costs more than it saves.
LS_INLINE bool int8_packs(int64_t K, int64_t rows) { return INT8_PACKS && K % 4 == 0 && rows >= 8; }

// A matrix as sequences multiply by it: packed by pack_gates, four columns as one number, or where it lies.
struct Int8Packed {
  Int8Matrix matrix;
  const float* packed;  // null: where it lies

  // As Int8Matrix::product; v0 is a multiple of GROUP.
  void product(const int8_t* q, ptrdiff_t q_row, const float* q_scale, int rows, int v0, int n, const float* start,
               float* out, ptrdiff_t out_row) const {
    if (!packed) return matrix.product(q, q_row, q_scale, rows, v0, n, start, out, out_row);
#ifdef LS_INT8_LANES
    constexpr int L = V<float>::lanes, MANY = 4 * GROUP;
    const int all = int(ceil_div(matrix.H, L)) * matrix.G;
    int v = v0;
    const auto from = [&](int m) {
      return Place{q + m * q_row, q_scale + m, v, start ? start + (v - v0) * L : nullptr, out + m * out_row + (v - v0) * L};
    };
    for (; rows == 1 && v + MANY <= v0 + n; v += MANY) tile<1, MANY, GROUP>(from(0), q_row, out_row);
    for (; rows == 1 && v + MANY / 2 <= v0 + n; v += MANY / 2) tile<1, MANY / 2, GROUP>(from(0), q_row, out_row);
    for (; v < v0 + n; v += GROUP) {
      const int wide = least(GROUP, all - v);
      for (int m = 0; m < rows;) {
        const int height = m + 4 <= rows ? 4 : 1;
        (height == 4 ? tiles<4>(wide) : tiles<1>(wide))(*this, from(m), q_row, out_row);
        m += height;
      }
    }
#endif
  }

#ifdef LS_INT8_LANES
  // The first row and vector of a tile.
  struct Place {
    const int8_t* q;
    const float* q_scale;
    int v;
    const float* start;
    float* out;
  };
  typedef void (*Tile)(const Int8Packed&, const Place&, ptrdiff_t q_row, ptrdiff_t out_row);

  template <int M> static Tile tiles(int wide) {
    if (GROUP == 4 && wide == 3) return run<M, 3>;
    return wide == GROUP ? run<M, GROUP> : wide == 2 ? run<M, 2> : run<M, 1>;
  }
  template <int M, int WIDE> static void run(const Int8Packed& p, const Place& at, ptrdiff_t q_row, ptrdiff_t out_row) {
    p.tile<M, WIDE, WIDE>(at, q_row, out_row);
  }

  template <int M, int NV, int WIDE> LS_INLINE void tile(const Place& at, ptrdiff_t q_row, ptrdiff_t out_row) const {
    constexpr int L = V<float>::lanes;
    const int fours = int(matrix.K / 4), G = matrix.G, H = matrix.H;
    const ptrdiff_t group_step = (ptrdiff_t)GROUP * L * fours;
    I32 acc[M][NV] = {};
    int8_multiply<M, NV, WIDE>(at.q, q_row, fours, packed + at.v / GROUP * group_step, group_step, acc);
    for (int v = 0; v < NV; v++) {
      const int u = (at.v + v) / G, g = (at.v + v) % G;
      const V<float> scale = V<float>::load(matrix.scale + (int64_t)g * H + u * L, H - u * L);
      const V<float> first = at.start ? V<float>::load(at.start + v * L) : V<float>(0.0);
      for (int m = 0; m < M; m++) {
        const V<float> sum(__builtin_convertvector(acc[m][v], F32));
        (first + sum * (scale * V<float>::all(at.q_scale[m]))).store(at.out + m * out_row + v * L);
      }
    }
  }
#endif
};

// The matrices of a call with int8 weights, W or R.
template <class Call>
LS_INLINE Int8Matrix int8_w(const Call& c) {
  return {reinterpret_cast<const int8_t*>(c.w), c.w_scale, c.I, c.cell->G, int(c.H)};
}
template <class Call>
LS_INLINE Int8Matrix int8_r(const Call& c) {
  return {reinterpret_cast<const int8_t*>(c.r), c.r_scale, c.H, c.cell->G, int(c.H)};
}

}  // namespace
}  // namespace LS_ISA
