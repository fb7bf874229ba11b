// The time loop over any cell, forward and backward: compiled once for each instruction set (-DLS_ISA=... -DLS_BYTES=...).
//
// Inside, gates lie in blocks (U, G, L): for each unit (a vector of hidden numbers) its G gates side by side, padded with
// zeros to whole vectors. Two ways to share the work among threads: by rows, when there are enough of them, with no
// barrier inside a sequence; by units, with one barrier a step, when there are few. Every sum is taken in one fixed order,
// so the answer depends on neither.
#include <time.h>

#include "gemm.h"
#include "point.h"

namespace LS_ISA {
namespace {
#include "cells.inc"
}
}  // namespace LS_ISA

namespace LS_ISA {
namespace {

using longspan::Barrier;
using longspan::Call;
using longspan::HOLD;
using longspan::Plan;
using longspan::Strided;

template <class N> LS_INLINE N least(N a, N b) { return a < b ? a : b; }
template <class N> LS_INLINE N most(N a, N b) { return a > b ? a : b; }
LS_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Bytes that the caches do not hold until they are read again: at the latest on the way back; by the caller, some time.
constexpr int64_t SAVED_FAR = 8 << 20, SHOWN_FAR = 2 << 20;
constexpr int BLOCK = 8 * TILE;  // rows whose products wait in the nearest cache for their pointwise part

// ---- sizes ----------------------------------------------------------------------------------------------------------

// All the sizes of a call, and where its saved numbers lie.
template <class T>
struct Shape {
  static constexpr int L = V<T>::lanes;
  int G, S, P, K, Ky, H, U, Hp, I, R, Rp, N, NL;  // N vectors of gates, NL numbers
  int panel_units;                                // units whose gates fill whole groups of vectors
  bool norm, norm_c, proj, zoned, fused;
  bool x_inside;  // W x is part of the recurrent product: [x h] [W R]
  bool has_h;     // whether a row of states holds h; the user's output always does
  int states_row;
  int64_t total;
  int64_t states, values, x_hat, r_hat, x_rstd, r_rstd;  // offsets in the saved numbers
  int64_t saved_per_row;

  explicit Shape(const Call<T>& c) {
    const CellTable<T>& cell = *c.cell;
    G = cell.G, S = cell.S, P = cell.P, H = int(c.H), I = int(c.I), R = int(c.R);
    norm = c.norm_x != nullptr, norm_c = norm && cell.C >= 0, proj = c.proj != nullptr, zoned = c.zone != nullptr;
    K = norm_c ? cell.norm_K : cell.K;
    Ky = K + (zoned ? S : 0);
    U = int(ceil_div(H, L)), Hp = U * L, Rp = int(ceil_div(R, L)) * L, N = U * G, NL = N * L;
    panel_units = G % GROUP == 0 ? 1 : G % 2 == 0 ? 2 : GROUP;
    fused = !norm && !proj;
    // worth it where a step has rows enough to make up for reading W again; the number of threads must not decide
    x_inside = fused && cell.shared && c.r && c.plan->B >= 16;
    has_h = cell.reads_h || proj || zoned || (c.saved && cell.keeps_h);
    states_row = (has_h ? S : S - 1) * Hp;
    total = c.plan->total;
    states = 0, values = states + total * states_row, x_hat = values + total * Ky * Hp;
    r_hat = x_hat + (norm ? total * NL : 0), x_rstd = r_hat + (norm ? total * NL : 0);
    r_rstd = x_rstd + (norm ? total : 0);
    saved_per_row = states_row + Ky * Hp + (norm ? 2 * NL + 2 : 0);
  }
};

// Memory for one call, cut in 64-byte aligned pieces: counted in a first pass, handed out in a second.
struct Arena {
  char* base = nullptr;
  size_t used = 0;
  template <class N>
  N* take(int64_t n) {
    N* p = base ? reinterpret_cast<N*>(base + used) : nullptr;
    used += (size_t(n > 0 ? n : 0) * sizeof(N) + 127) / 64 * 64;
    return p;
  }
};

// ---- packing --------------------------------------------------------------------------------------------------------

LS_INLINE int64_t packed_size(int64_t K, int64_t vectors, int lanes) { return K * vectors * lanes; }

// w (G*H, K) by rows -> groups of vectors: b(at + k, v = (u, g)) lane l = w[g*H + u*L + l][k], for groups first .. last - 1 of
// a matrix of `all` steps.
template <class T>
void pack_gates(T* to, const T* w, int K, int at, int all, int G, int H, int U, int first, int last) {
  constexpr int L = V<T>::lanes;
  for (int v = first * GROUP; v < least(last * GROUP, U * G); v++) {
    const int group = v / GROUP, width = least(GROUP, U * G - group * GROUP), u = v / G, g = v % G;
    T* dst = to + (ptrdiff_t)group * GROUP * L * all + (ptrdiff_t)at * width * L + (v % GROUP) * L;
    const int valid = least(L, H - u * L);
    const T* src = w + ((ptrdiff_t)g * H + u * L) * K;
    for (int k = 0; k < K; k += L) {
      V<T> block[L];
      for (int l = 0; l < L; l++) block[l] = l < valid ? V<T>::load(src + (ptrdiff_t)l * K + k, K - k) : V<T>(0.0);
      transpose(block);
      for (int i = 0; i < least(L, K - k); i++) block[i].store(dst + (ptrdiff_t)(k + i) * width * L);
    }
  }
}

// w (G*H, W) by rows -> b(k = (u, g, l), v) lane j = w[g*H + u*L + l][v*L + j]; zero where u*L + l is beyond H.
template <class T>
void pack_units(T* to, const T* w, int W, int G, int H, int U, int first, int last) {
  constexpr int L = V<T>::lanes;
  const int vectors = int(ceil_div(W, L)), K = U * G * L;
  for (int v = first * GROUP; v < least(last * GROUP, vectors); v++) {
    const int group = v / GROUP, width = least(GROUP, vectors - group * GROUP);
    T* dst = to + (ptrdiff_t)group * GROUP * L * K + (v % GROUP) * L;
    for (int u = 0; u < U; u++)
      for (int g = 0; g < G; g++)
        for (int l = 0; l < L; l++, dst += width * L) {
          const int h = u * L + l;
          (h < H ? V<T>::load(w + ((ptrdiff_t)g * H + h) * W + v * L, W - v * L) : V<T>(0.0)).store(dst);
        }
  }
}

// A vector of gates (G*H) -> blocks (U, G, L).
template <class T>
void pack_bias(T* to, const T* b, int G, int H, int U, bool add) {
  constexpr int L = V<T>::lanes;
  for (int u = 0; u < U; u++)
    for (int g = 0; g < G; g++)
      for (int l = 0; l < L; l++) {
        const int h = u * L + l;
        T& cell = to[(u * G + g) * L + l];
        const T value = b && h < H ? b[g * H + h] : T(0);
        cell = add ? cell + value : value;
      }
}

// ---- products -------------------------------------------------------------------------------------------------------

template <class T>
struct Product {
  typedef void (*Tile)(const Rows<T>&, const T*, const T*, T*, ptrdiff_t);
  template <int M, int NV>
  static void tile(const Rows<T>& A, const T* b, const T* start, T* out, ptrdiff_t out_row) {
    constexpr int L = V<T>::lanes;
    V<T> acc[M][NV];
    for (int v = 0; v < NV; v++) {
      const V<T> s = start ? V<T>::load(start + v * L) : V<T>(0.0);
      for (int m = 0; m < M; m++) acc[m][v] = s;
    }
    multiply<M, NV, T>(A, b, NV * L, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) acc[m][v].store(out + m * out_row + v * L);
  }
  template <int M>
  static Tile of(int nv) {
    return nv == 4 ? tile<M, 4> : nv == 3 ? tile<M, 3> : nv == 2 ? tile<M, 2> : tile<M, 1>;
  }
  static Tile of(int m, int nv) {
#if LS_BYTES == 64 || defined(__aarch64__)
    if (m > 3) return m == 6 ? of<6>(nv) : m == 5 ? of<5>(nv) : of<4>(nv);
#endif
    return m == 3 ? of<3>(nv) : m == 2 ? of<2>(nv) : of<1>(nv);
  }
};

// out(m, v) = start(v) + A b(v) for M <= TILE rows and vectors v0 .. v0 + n - 1 (v0 a multiple of GROUP) of `vectors`.
template <class T>
void columns(const Rows<T>& A, int M, const T* packed, int vectors, int v0, int n, const T* start, T* out,
             ptrdiff_t out_row) {
  constexpr int L = V<T>::lanes;
  const ptrdiff_t K = (ptrdiff_t)A.inner * A.runs;
  for (int v = v0; v < v0 + n; v += GROUP)
    Product<T>::of(M, least(GROUP, vectors - v))(A, packed + v * L * K, start ? start + v * L : nullptr, out + (v - v0) * L,
                                                 out_row);
}

// Tiles of nearly equal height: rows m0 .. m0 + height - 1, for the tile that starts at m0 of `rows`.
LS_INLINE int tile_height(int rows, int m0) {
  const int left = rows - m0, tiles = int(ceil_div(left, TILE));
  return int(ceil_div(left, tiles));
}

// out (rows, vectors * L) for all the rows and groups first .. last - 1; a panel of B stays in the cache while the rows go by.
template <class T>
void product(Rows<T> A, int rows, const T* packed, int vectors, int first, int last, const T* start, T* out,
             ptrdiff_t out_row) {
  constexpr int L = V<T>::lanes;
  const T* a = A.a;
  for (int g = first; g < last; g++)
    for (int m = 0, h; m < rows; m += h) {
      h = tile_height(rows, m);
      A.a = a + m * A.row;
      const int v = g * GROUP;
      columns(A, h, packed, vectors, v, least(GROUP, vectors - v), start, out + m * out_row + v * L, out_row);
    }
}

// sums(f, v) += over q of a(q, f) b(q, v): M features from f, the vectors of one group.
template <class T>
struct Sum {
  typedef void (*Tile)(int, const T*, ptrdiff_t, const T* const*, ptrdiff_t, T*, ptrdiff_t);
  template <int M, int NV>
  static void tile(int K, const T* a, ptrdiff_t a_step, const T* const* b, ptrdiff_t b_step, T* out, ptrdiff_t out_row) {
    constexpr int L = V<T>::lanes;
    V<T> acc[M][NV];
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) {
        acc[m][v] = V<T>(0.0);
        __builtin_prefetch(out + m * out_row + v * L, 1);  // far away, and needed at the end
      }
    multiply_transposed<M, NV, T>(K, a, a_step, b, b_step, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) {
        T* o = out + m * out_row + v * L;
        (V<T>::load(o) + acc[m][v]).store(o);
      }
  }
  template <int M>
  static Tile of(int nv) {
    return nv == 4 ? tile<M, 4> : nv == 3 ? tile<M, 3> : nv == 2 ? tile<M, 2> : tile<M, 1>;
  }
  static Tile of(int m, int nv) {
#if LS_BYTES == 64 || defined(__aarch64__)
    if (m > 3) return m == 6 ? of<6>(nv) : m == 5 ? of<5>(nv) : of<4>(nv);
#endif
    return m == 3 ? of<3>(nv) : m == 2 ? of<2>(nv) : of<1>(nv);
  }
};

// sums (F, vectors * L) += a (K, F)^T b, thread `tid` of `threads` taking its part of the tiles. Vector v of row q of b
// lies at b + (v / width) * block + q * width * L + (v % width) * L.
template <class T>
void accumulate(int K, const T* a, ptrdiff_t a_step, int F, const T* b, int vectors, int width, ptrdiff_t block, T* sums,
                int tid, int threads) {
  constexpr int L = V<T>::lanes, RUN = 8 * TILE;  // features done before the next group's vectors are fetched
  const int64_t groups = ceil_div(vectors, GROUP), runs = ceil_div(F, RUN), items = groups * runs;
  for (int64_t item = items * tid / threads; item < items * (tid + 1) / threads; item++) {
    const int v0 = int(item / runs) * GROUP, nv = least(GROUP, vectors - v0);
    const int f1 = least(F, int(item % runs + 1) * RUN);
    const T* bv[GROUP];
    for (int i = 0; i < nv; i++) bv[i] = b + (v0 + i) / width * block + (v0 + i) % width * L;
    for (int f = int(item % runs) * RUN, h; f < f1; f += h) {
      h = tile_height(f1, f);
      Sum<T>::of(h, nv)(K, a + f, a_step, bv, (ptrdiff_t)width * L, sums + (ptrdiff_t)f * vectors * L + v0 * L,
                        (ptrdiff_t)vectors * L);
    }
  }
}

// ---- layer normalisation of a row -----------------------------------------------------------------------------------

// N sums at once.
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

// The sum of value(v) over n vectors; four at a time so that no addition waits for the last.
template <class S, class F>
LS_INLINE S row_sum(int n, F value) {
  S a{}, b{}, c{}, d{};
  int v = 0;
  for (; v + 4 <= n; v += 4) a += value(v), b += value(v + 1), c += value(v + 2), d += value(v + 3);
  for (; v < n; v++) a += value(v);
  a += b, c += d, a += c;
  return a;
}

// A row's numbers without those of its padding; there is no mask where there is no padding.
template <class T>
LS_INLINE V<T> masked(V<T> x, const T* mask, int v) {
  return mask ? x * V<T>::load(mask + v * V<T>::lanes) : x;
}

// A row on its way through a normalisation; hat and rstd may be null, out may be in.
template <class T>
struct NormRow {
  const T* in;
  T *hat, *out, *rstd;
};

// What rows that are normalised alike have in common: `count` numbers in n vectors, the mask 1 on those numbers and 0 on the
// padding. past: hat is stored past the caches.
template <class T>
struct Norm {
  int n, count;
  const T *mask, *scale, *bias;
  bool past;

  // hat = (in - mean) / sqrt(variance + 1e-5), out = hat * scale + bias for rows row(0) .. row(rows - 1).
  template <class F>
  void forward(int rows, F row) const {
    int m = 0;
    for (; m + 2 <= rows; m += 2) some<2>({row(m), row(m + 1)});
    if (m < rows) some<1>({row(m)});
  }

  // Of N rows side by side, so that each has others to fill the time its sums take.
  template <int N>
  void some(const NormRow<T> (&row)[N]) const {
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
        if (row[k].hat) past ? h.store_past(row[k].hat + v * L) : h.store(row[k].hat + v * L);
        (h * V<T>::load(scale + v * L) + V<T>::load(bias + v * L)).store(row[k].out + v * L);
      }
    for (int k = 0; k < N; k++)
      if (row[k].rstd) *row[k].rstd = rstd.v[k].v[0];
  }
};

// One normalisation on its way back: its row of hats, the one that will follow, its scale, its rstd.
template <class T>
struct Normal {
  const T *hat, *next, *scale;
  T rstd;
};

// The gradients of the inputs of N normalisations from that of hat * scale + bias, which they share. The n vectors of
// normalisation i's go in runs of `run` to to[i], to[i] + step, ...
template <int N, class T>
LS_INLINE void normalise_backward(const T* dy, const Normal<T> (&normal)[N], int n, const T* mask, int count,
                                  T* const (&to)[N], int run, ptrdiff_t step) {
  constexpr int L = V<T>::lanes;
  const V<T> share(1.0 / count);
  V<T> a[N], b[N];
  for (int i = 0; i < N; i++) {
    const Normal<T>& one = normal[i];
    typedef Several<T, 2> Sums;
    const Sums sums = row_sum<Sums>(n, [&](int v) {
      const V<T> d = V<T>::load(dy + v * L) * V<T>::load(one.scale + v * L);
      __builtin_prefetch(one.next + v * L);  // saved long ago, so far away by now
      return Sums([&](int k) { return k ? d * V<T>::load(one.hat + v * L) : d; });
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

// ---- what both directions of time share -----------------------------------------------------------------------------

// A thread's rows (sorted rows first, first + step, ...) and units.
struct Share {
  int tid, threads;
  bool by_units;
  int first, step;     // rows
  int unit0, unit1;    // units of H
  int group0, group1;  // groups of gate vectors that belong to them
  int rows(int64_t active) const { return active > first ? int(ceil_div(active - first, step)) : 0; }
};

// Few rows a thread: streaming all of R for each is what costs, so each thread reads only its part of it.
template <class T>
bool share_units(const Call<T>& c, const Shape<T>& z) {
  return c.threads > 1 && z.fused && z.U >= GROUP * c.threads && c.plan->B < 2 * TILE * c.threads;
}

// The call with as many threads as its work is worth.
template <class T>
Call<T> with_threads(Call<T> c) {
  const Shape<T> z(c);
  const double work = 2.0 * double(z.total) * z.G * z.H * (z.I + z.R), worth = 400000;
  c.threads = int(least<double>(c.threads, most(1.0, work / worth)));
  if (!share_units(c, z)) c.threads = int(least<int64_t>(c.threads, most<int64_t>(1, c.plan->B)));
  return c;
}

template <class T>
Share share_of(const Call<T>& c, const Shape<T>& z, int tid) {
  Share s;
  s.tid = tid, s.threads = c.threads, s.by_units = share_units(c, z);
  s.first = s.by_units ? 0 : tid, s.step = s.by_units ? 1 : c.threads;
  // units are shared in whole groups, which are whole groups of gates too
  const int blocks = int(ceil_div(z.U, GROUP));
  const int b0 = s.by_units ? blocks * tid / c.threads : 0, b1 = s.by_units ? blocks * (tid + 1) / c.threads : blocks;
  s.unit0 = b0 * GROUP, s.unit1 = least(b1 * GROUP, z.U);
  s.group0 = s.unit0 * z.G / GROUP, s.group1 = int(ceil_div(s.unit1 * z.G, GROUP));
  return s;
}

// Padded copies of a call's small inputs and its packed weights.
template <class T>
struct Inputs {
  T *w, *r, *proj;  // packed
  T *bias_x, *bias_r, *p, *drop, *state, *initial;
  T *norm_x, *norm_r, *norm_c, *norm_c_bias;
  T *mask, *mask_h;  // 1 on the numbers of a row of gates or of H, 0 on its padding; null where there is none

  void lay_out(Arena& m, const Call<T>& c, const Shape<T>& z, bool forward) {
    const int64_t B = c.plan->B;
    const int64_t r_vectors = z.Rp / z.L, i_vectors = ceil_div(z.I, z.L);
    w = z.x_inside && forward ? nullptr
        : forward             ? m.take<T>(packed_size(z.I, z.N, z.L))
        : c.dx                ? m.take<T>(packed_size(z.NL, i_vectors, z.L))
                              : nullptr;
    r = !c.r ? nullptr
             : m.take<T>(forward ? packed_size(z.R + (z.x_inside ? z.I : 0), z.N, z.L) : packed_size(z.NL, r_vectors, z.L));
    proj = !c.proj ? nullptr : m.take<T>(forward ? packed_size(z.H, r_vectors, z.L) : packed_size(z.Rp, z.U, z.L));
    bias_x = m.take<T>(z.NL), bias_r = m.take<T>(z.NL);
    p = m.take<T>(z.P * z.Hp);
    drop = c.drop ? m.take<T>(B * z.Rp) : nullptr;
    state = m.take<T>(B * z.S * z.Hp), initial = m.take<T>(z.S * z.Hp);
    norm_x = norm_r = norm_c = norm_c_bias = mask = mask_h = nullptr;
    if (!z.norm) return;
    norm_x = m.take<T>(z.NL), norm_r = m.take<T>(z.NL);
    norm_c = m.take<T>(z.Hp), norm_c_bias = m.take<T>(z.Hp);
    if (z.H < z.Hp) mask = m.take<T>(z.NL), mask_h = m.take<T>(z.Hp);
  }

  // Each thread packs its part of the matrices; thread 0 the rest.
  void fill(const Call<T>& c, const Shape<T>& z, bool forward, int tid) {
    auto share = [&](int64_t vectors, auto pack) {
      const int groups = int(ceil_div(vectors, GROUP));
      pack(groups * tid / c.threads, groups * (tid + 1) / c.threads);
    };
    if (forward) {
      const int at = z.x_inside ? z.I : 0, all = at + z.R;
      T* x = z.x_inside ? r : w;
      share(z.N, [&](int a, int b) { pack_gates(x, c.w, z.I, 0, z.x_inside ? all : z.I, z.G, z.H, z.U, a, b); });
      if (r) share(z.N, [&](int a, int b) { pack_gates(r, c.r, z.R, at, all, z.G, z.H, z.U, a, b); });
      if (proj) share(z.Rp / z.L, [&](int a, int b) { pack_gates(proj, c.proj, z.H, 0, z.H, 1, z.R, z.Rp / z.L, a, b); });
    } else {
      if (w) share(ceil_div(z.I, z.L), [&](int a, int b) { pack_units(w, c.w, z.I, z.G, z.H, z.U, a, b); });
      if (r) share(z.Rp / z.L, [&](int a, int b) { pack_units(r, c.r, z.R, z.G, z.H, z.U, a, b); });
      if (proj) share(z.U, [&](int a, int b) { pack_units(proj, c.proj, z.H, 1, z.R, z.Rp / z.L, a, b); });
    }
    if (tid == 0) fill_small(c, z);
  }

  void fill_small(const Call<T>& c, const Shape<T>& z) {
    const bool one_sum = c.cell->shared && !z.norm;  // both biases only ever meet in x + r
    pack_bias(bias_x, c.bx, z.G, z.H, z.U, false);
    pack_bias(bias_r, one_sum ? nullptr : c.br, z.G, z.H, z.U, false);
    if (one_sum && c.br) pack_bias(bias_x, c.br, z.G, z.H, z.U, true);
    pack_rows(p, c.p, z.P, z.H, z.Hp, z.Hp);
    const Plan& plan = *c.plan;
    for (int i = 0; i < z.S; i++)
      for (int l = 0; l < z.Hp; l++) initial[slot(i, z.S) * z.Hp + l] = T(c.cell->initial[i]);
    for (int64_t j = 0; j < plan.B; j++) {
      const int64_t b = plan.order[j];
      if (drop) pack_rows(drop + j * z.Rp, c.drop + b * z.R, 1, z.R, z.Rp, z.Rp);
      for (int i = 0; i < z.S; i++) {
        const int W = i == 0 ? z.R : z.H;
        pack_rows(state + (j * z.S + slot(i, z.S)) * z.Hp, c.state[i] + b * W, 1, W, z.Hp, z.Hp);
      }
    }
    if (!z.norm) return;
    pack_bias(norm_x, c.norm_x, z.G, z.H, z.U, false), pack_bias(norm_r, c.norm_r, z.G, z.H, z.U, false);
    for (int v = 0; mask && v < z.NL; v++) mask[v] = T(v / (z.G * z.L) * z.L + v % z.L < z.H);
    for (int l = 0; mask && l < z.Hp; l++) mask_h[l] = T(l < z.H);
    if (!z.norm_c) return;
    pack_rows(norm_c, c.norm_c, 1, z.H, z.Hp, z.Hp), pack_rows(norm_c_bias, c.norm_c_bias, 1, z.H, z.Hp, z.Hp);
  }

  static const T* h_of(const T* row, const Shape<T>& z) { return row + slot(0, z.S) * z.Hp; }

  // Sorted row j's h as it meets R: times its dropout.
  void put_h(const T* h, int64_t j, const Shape<T>& z, T* to) const {
    constexpr int L = V<T>::lanes;
    const T* const row = drop ? drop + j * z.Rp : nullptr;
    for (int l = 0; l < z.R; l += L) {
      const V<T> v = V<T>::load(h + l, z.R - l);
      (row ? v * V<T>::load(row + l) : v).store(to + l, z.R - l);
    }
  }

  static void pack_rows(T* to, const T* from, int rows, int width, int padded, int step) {
    constexpr int L = V<T>::lanes;
    for (int i = 0; i < rows; i++)
      for (int l = 0; l < padded; l += L)
        (from ? V<T>::load(from + (ptrdiff_t)i * width + l, most(0, width - l)) : V<T>(0.0)).store(to + i * step + l);
  }
};

// Zoneout as the pointwise part is to see it: a projected h is blended after its projection.
template <class T>
struct Zones {
  ZoneRate point[longspan::MAX_STATES];
  const ZoneRate* get(const Call<T>& c, const Shape<T>& z) {
    if (!c.zone) return nullptr;
    for (int i = 0; i < z.S; i++) point[i] = c.zone[i];
    if (z.proj) point[0].on = false;
    return point;
  }
};

// The end of a run of steps from t0 that keeps at least one step and at most `rows` packed rows.
LS_INLINE int64_t chunk_end(const Plan& p, int64_t t0, int64_t rows) {
  int64_t t = t0 + 1;
  while (t < p.steps && p.offset[t + 1] - p.offset[t0] <= rows) t++;
  return t;
}
LS_INLINE int64_t active(const Plan& p, int64_t t) { return t < p.steps ? p.offset[t + 1] - p.offset[t] : 0; }

// ---- forward --------------------------------------------------------------------------------------------------------

template <class T>
struct ForwardRun {
  static constexpr int L = V<T>::lanes;
  const Call<T> c;
  const Plan& plan;
  const Shape<T> z;
  Inputs<T> in;
  Zones<T> zones;
  const ZoneRate* zone;
  Barrier barrier;
  T* a[2];         // (B, a_row): [x] h * drop, what this and the next step multiply
  int a_row, a_h;  // h's first column
  T* swap[2];      // (B, states_row): states, where none are saved
  char* privates;
  size_t private_size;
  int64_t chunk_rows;
  bool gates_past, hats_past;  // the caches are too small for them, and their rows are whole registers

  explicit ForwardRun(const Call<T>& call)
      : c(with_threads(call)), plan(*call.plan), z(call), zone(zones.get(call, z)), barrier{c.threads} {
    auto past = [](const T* p, int64_t n, int64_t far) {
      return n * (int64_t)sizeof(T) > far && reinterpret_cast<uintptr_t>(p) % LS_BYTES == 0;
    };
    gates_past = z.H % L == 0 && past(c.gates, (z.G + z.S - 1) * c.gate_rows * z.H, SHOWN_FAR);
    hats_past = z.norm && past(c.saved, z.total * z.saved_per_row, SAVED_FAR);
  }

  // One thread's own memory.
  struct Private {
    T *x, *gates, *tile, *r, *nc, *y;
    int64_t* row;
    const T** s;
    uint8_t* resets;
    Private(Arena& m, const ForwardRun& f) {
      const Shape<T>& z = f.z;
      const int64_t B = f.plan.B;
      x = z.x_inside ? nullptr : m.take<T>(f.chunk_rows * z.I);
      gates = z.x_inside ? nullptr : m.take<T>(f.chunk_rows * z.NL);
      tile = m.take<T>(BLOCK * most(z.panel_units * z.G, GROUP) * L);
      r = z.fused ? nullptr : m.take<T>(B * most(z.NL, z.Rp));
      nc = z.norm_c ? m.take<T>(B * z.Hp) : nullptr;
      y = z.norm_c && !f.c.saved ? m.take<T>(B * z.Ky * z.Hp) : nullptr;  // the first half's, for the second
      row = m.take<int64_t>(B), s = m.take<const T*>(B), resets = m.take<uint8_t>(B);
    }
  };

  void lay_out(Arena& m) {
    in.lay_out(m, c, z, true);
    a_h = z.x_inside ? z.I : 0, a_row = int(ceil_div(a_h + z.Rp, 64 / sizeof(T))) * 64 / int(sizeof(T));
    a[0] = m.take<T>(plan.B * a_row), a[1] = m.take<T>(plan.B * a_row);
    swap[0] = c.saved ? nullptr : m.take<T>(plan.B * z.states_row);
    swap[1] = c.saved ? nullptr : m.take<T>(plan.B * z.states_row);
    const int64_t most_rows = share_units(c, z) ? plan.B : ceil_div(plan.B, c.threads);
    chunk_rows = most(most_rows, least(plan.total, most<int64_t>(4 * TILE, 196608 / (z.NL * (int)sizeof(T)))));
    Arena count;
    Private(count, *this);
    private_size = count.used;
    privates = m.take<char>(int64_t(private_size) * c.threads);
  }

  void run() {
    Arena count;
    lay_out(count);
    Arena m;
    m.base = static_cast<char*>(longspan::borrow(count.used));
    lay_out(m);
    longspan::parallel(c.threads, [](void* self, int tid) { static_cast<ForwardRun*>(self)->work(tid); }, this);
    longspan::give_back(m.base);
    show_carried();
  }

  // How many of a share's packed rows lie in steps t0 .. t1 - 1.
  int64_t next_chunk(const Share& sh, int64_t t0, int64_t& rows) const {
    int64_t t = t0;
    for (rows = 0; t < plan.steps; t++) {
      const int64_t more = sh.rows(active(plan, t));
      if (t > t0 && rows + more > chunk_rows) break;
      rows += more;
    }
    return t;
  }

  void work(int tid) {
    const Share sh = share_of(c, z, tid);
    Arena m;
    m.base = privates + private_size * tid;
    Private my(m, *this);
    in.fill(c, z, true, tid);
    barrier.wait();
    begin(sh);
    put_inputs(sh, 0);
    if (sh.by_units) barrier.wait();
    for (int64_t t0 = 0, t1, rows; t0 < plan.steps; t0 = t1) {
      t1 = next_chunk(sh, t0, rows);
      if (!z.x_inside) input_gates(sh, my, t0, t1, int(rows));
      const T* gates = my.gates;
      for (int64_t t = t0; t < t1; t++) {
        const int R = sh.rows(active(plan, t));
        tables(sh, my, t, R);
        if (z.fused)
          step(sh, my, t, R, gates);
        else
          long_step(sh, my, t, R, gates);
        gates += z.x_inside ? 0 : (ptrdiff_t)R * z.NL;
        put_inputs(sh, t + 1);
        finish(sh, t);
        if (sh.by_units) barrier.wait();
      }
    }
    if (gates_past || hats_past) settle();
  }

  bool resets_at(int64_t t, int64_t j) const {
    if (!plan.reset || t >= plan.steps || j >= active(plan, t)) return false;
    return plan.reset[plan.offset[t] + j];
  }

  // Where row j's states stand before step t.
  const T* before(int64_t t, int64_t j) const {
    if (resets_at(t, j)) return in.initial;
    if (t == 0) return in.state + j * z.S * z.Hp;
    return states(t - 1, j);
  }
  T* states(int64_t t, int64_t j) const {
    if (c.saved) return c.saved + z.states + (plan.offset[t] + j) * z.states_row;
    return swap[t & 1] + j * z.states_row;
  }

  // Before the first step: the multiplicand, and the rows that have no step at all.
  void begin(const Share& sh) {
    for (int64_t j = sh.first; j < plan.B; j += sh.step) {
      if (c.r && !(sh.by_units && sh.tid)) { in.put_h(previous_h(0, j), j, z, a[0] + j * a_row + a_h); }
      const T* first = in.state + j * z.S * z.Hp;
      if (plan.count[j] == 0 && !(sh.by_units && sh.tid)) put_last(j, first, in.h_of(first, z), 0, z.U);
    }
  }

  // A step's x, beside the h it will be multiplied with.
  void put_inputs(const Share& sh, int64_t t) {
    if (!z.x_inside) return;
    const int64_t first = sh.by_units ? sh.tid : sh.first, step = sh.by_units ? sh.threads : sh.step;
    for (int64_t j = first; j < active(plan, t); j += step)
      std::memcpy(a[t & 1] + j * a_row, c.x + plan.row[plan.offset[t] + j] * z.I, z.I * sizeof(T));
  }

  // Final states of sorted row j from a row of states and a row of h.
  void put_last(int64_t j, const T* from, const T* h, int unit0, int unit1) {
    const bool reset = plan.last && plan.last[j];
    if (reset) from = in.initial, h = in.h_of(in.initial, z);
    for (int i = 0; i < z.S; i++) {
      const int W = i == 0 ? z.R : z.H;
      const T* values = i == 0 ? h : from + slot(i, z.S) * z.Hp;
      for (int l = unit0 * L; l < least(W, unit1 * L); l++) c.last[i][plan.order[j] * W + l] = values[l];
    }
  }

  void finish(const Share& sh, int64_t t) {
    for (int64_t m = sh.rows(active(plan, t + 1)), end = sh.rows(active(plan, t)); m < end; m++) {
      const int64_t j = sh.first + m * sh.step;
      put_last(j, states(t, j), c.out + plan.row[plan.offset[t] + j] * c.out_step, sh.unit0, sh.unit1);
    }
  }

  // W x + b for the rows of a run of steps, normalised where asked.
  void input_gates(const Share& sh, Private& my, int64_t t0, int64_t t1, int rows) {
    T* x = my.x;
    for (int64_t t = t0; t < t1; t++)
      for (int64_t p = plan.offset[t] + sh.first; p < plan.offset[t + 1]; p += sh.step, x += z.I)
        std::memcpy(x, c.x + plan.row[p] * z.I, z.I * sizeof(T));
    product(Rows<T>{my.x, z.I, z.I, 0, 1}, rows, in.w, z.N, sh.group0, sh.group1, z.norm ? nullptr : in.bias_x, my.gates,
            z.NL);
    if (!z.norm) return;
    T* gates = my.gates;
    for (int64_t t = t0; t < t1; t++) {
      const int R = sh.rows(active(plan, t));
      normalise(sh, t, R, gates, in.norm_x, in.bias_x, z.x_hat, z.x_rstd);
      gates += (ptrdiff_t)R * z.NL;
    }
  }

  // R rows of gates (R, NL) of step t in their place; what the way back needs is saved from hats and rstds on.
  void normalise(const Share& sh, int64_t t, int R, T* gates, const T* scale, const T* bias, int64_t hats, int64_t rstds) {
    const Norm<T> norm = {z.N, z.G * z.H, in.mask, scale, bias, hats_past};
    norm.forward(R, [&](int m) {
      const int64_t p = plan.offset[t] + sh.first + (int64_t)m * sh.step;
      T* const row = gates + (int64_t)m * z.NL;
      return NormRow<T>{row, c.saved ? c.saved + hats + p * z.NL : nullptr, row, c.saved ? c.saved + rstds + p : nullptr};
    });
  }

  void tables(const Share& sh, Private& my, int64_t t, int R) {
    for (int m = 0; m < R; m++) {
      const int64_t j = sh.first + (int64_t)m * sh.step;
      my.row[m] = plan.row[plan.offset[t] + j];
      my.s[m] = before(t, j);
      if (plan.reset) my.resets[m] = resets_at(t + 1, j);
    }
  }

  PointForward<T> point(const Share& sh, Private& my, int64_t t, const T* gates) {
    PointForward<T> q = {};
    q.H = z.H, q.Hp = z.Hp;
    q.x = {z.x_inside ? in.bias_x : gates, z.x_inside ? 0 : z.NL};
    q.s = my.s, q.p = in.p;
    q.n = {states(t, sh.first), sh.step * z.states_row}, q.has_h = z.has_h;
    if (c.saved) q.y = {c.saved + z.values + (plan.offset[t] + sh.first) * z.Ky * z.Hp, sh.step * z.Ky * z.Hp};
    if (my.y) q.y = {my.y, z.Ky * z.Hp};
    q.Ky = z.Ky;
    q.row = my.row;
    q.out = z.proj ? nullptr : c.out, q.out_step = c.out_step;
    if (c.r && !z.proj) q.a = {a[(t + 1) & 1] + (int64_t)sh.first * a_row + a_h, (ptrdiff_t)sh.step * a_row};
    if (in.drop) q.drop = {in.drop + (int64_t)sh.first * z.Rp, sh.step * z.Rp};
    q.resets = plan.reset ? my.resets : nullptr;
    q.gates = c.gates, q.gates_step = c.gate_rows * z.H, q.gates_past = gates_past;
    q.zone = zone;
    return q;
  }

  // The same from row m on.
  static PointForward<T> from(const PointForward<T>& q, int m, int rows) {
    PointForward<T> t = q;
    t.rows = rows;
    t.r.p = q.r.p + m * q.r.step, t.x.p = q.x[m], t.s = q.s + m, t.n.p = q.n[m], t.row = q.row + m;
    if (q.y) t.y.p = q.y[m];
    if (q.a) t.a.p = q.a[m];
    if (q.drop) t.drop.p = q.drop[m];
    if (q.resets) t.resets = q.resets + m;
    if (q.nc) t.nc.p = q.nc[m];
    return t;
  }

  Rows<T> multiplicand(const Share& sh, int64_t t, int m) const {
    return {a[t & 1] + (sh.first + (int64_t)m * sh.step) * a_row, (ptrdiff_t)sh.step * a_row, a_h + z.R, 0, 1};
  }

  // A block of rows times a panel of units, and at once its pointwise part while it is in the cache.
  void step(const Share& sh, Private& my, int64_t t, int R, const T* gates) {
    PointForward<T> q = point(sh, my, t, gates);
    const T* start = c.cell->shared ? nullptr : in.bias_r;
    if (!c.r) {
      q.rows = R, q.unit0 = sh.unit0, q.units = sh.unit1 - sh.unit0;
      return c.cell->forward(q);
    }
    q.r.step = z.panel_units * z.G * L;
    for (int m0 = 0; m0 < R; m0 += BLOCK) {
      const int rows = least(BLOCK, R - m0);
      PointForward<T> block = from(q, m0, rows);
      block.r.p = my.tile;
      const int panels = int(ceil_div(sh.unit1 - sh.unit0, z.panel_units));
      for (int i = 0; i < panels; i++) {
        // to and fro: what was read last is still in the nearest cache
        const int u = sh.unit0 + (t & 1 ? panels - 1 - i : i) * z.panel_units;
        const int units = least(z.panel_units, sh.unit1 - u);
        for (int m = 0, h; m < rows; m += h) {
          h = tile_height(rows, m);
          columns(multiplicand(sh, t, m0 + m), h, in.r, z.N, u * z.G, units * z.G, start, my.tile + m * q.r.step, q.r.step);
        }
        block.r_unit0 = u, block.unit0 = u, block.units = units;
        c.cell->forward(block);
      }
    }
  }

  // The step where something needs whole rows (layer normalisation, projection).
  void long_step(const Share& sh, Private& my, int64_t t, int R, const T* gates) {
    PointForward<T> q = point(sh, my, t, gates);
    q.rows = R, q.unit0 = 0, q.units = z.U, q.r = {my.r, z.NL}, q.r_unit0 = 0;
    if (c.r) recurrent_gates(sh, my, t, R);
    if (!z.norm_c) {
      c.cell->forward(q);
    } else {
      c.cell->forward_c(q);
      const Norm<T> norm = {z.U, z.H, in.mask_h, in.norm_c, in.norm_c_bias, false};
      norm.forward(R, [&](int m) {
        return NormRow<T>{q.n[m] + slot(c.cell->C, z.S) * z.Hp, nullptr, my.nc + (int64_t)m * z.Hp, nullptr};
      });
      q.nc = {my.nc, z.Hp};
      c.cell->forward_h(q);
    }
    if (z.proj) project(sh, my, t, R, q);
  }

  void recurrent_gates(const Share& sh, Private& my, int64_t t, int R) {
    product(multiplicand(sh, t, 0), R, in.r, z.N, 0, int(ceil_div(z.N, GROUP)),
            z.norm || c.cell->shared ? nullptr : in.bias_r, my.r, z.NL);
    if (z.norm) normalise(sh, t, R, my.r, in.norm_r, in.bias_r, z.r_hat, z.r_rstd);
  }

  // h = P hc, blended by zoneout, shown and made ready for the next step.
  void project(const Share& sh, Private& my, int64_t t, int R, const PointForward<T>& q) {
    product(Rows<T>{in.h_of(q.n.p, z), q.n.step, z.H, 0, 1}, R, in.proj, z.Rp / L, 0, int(ceil_div(z.Rp / L, GROUP)),
            (const T*)nullptr, my.r, z.Rp);
    for (int m = 0; m < R; m++) {
      const int64_t j = sh.first + (int64_t)m * sh.step;
      T *h = my.r + (int64_t)m * z.Rp, *out = c.out + q.row[m] * c.out_step, *next = a[(t + 1) & 1] + j * a_row;
      if (c.zone && c.zone[0].on) {
        const T* previous = previous_h(t, j);
        for (int l = 0; l < z.R; l++) {
          const T keep = c.zone[0].mask ? T(c.zone[0].mask[q.row[m] * z.R + l]) : T(c.zone[0].rate);
          h[l] = h[l] + keep * (previous[l] - h[l]);
        }
      }
      const bool reset = q.resets && q.resets[m];
      for (int l = 0; l < z.R; l++) out[l] = h[l];
      for (int l = 0; l < z.R; l++)
        next[l] = (reset ? T(c.cell->initial[0]) : h[l]) * (in.drop ? in.drop[j * z.Rp + l] : T(1));
    }
  }

  const T* previous_h(int64_t t, int64_t j) const {
    if (resets_at(t, j)) return in.h_of(in.initial, z);
    if (t == 0) return in.h_of(in.state + j * z.S * z.Hp, z);
    return c.out + plan.row[plan.offset[t - 1] + j] * c.out_step;
  }

  // Rows of a masked step show the state they carry.
  void show_carried() {
    for (int64_t i = 0; i < plan.carried_n; i++) {
      const int64_t f = plan.from[i], to = plan.carried[i];
      T* out = c.out + to * c.out_step;
      for (int l = 0; l < z.R; l++)
        out[l] = f >= 0      ? c.out[plan.row[f] * c.out_step + l]
                 : f == HOLD ? T(c.cell->initial[0])
                             : c.state[0][plan.order[-1 - f] * z.R + l];
      if (!c.gates) continue;
      for (int s = 1; s < z.S; s++) {
        T* g = c.gates + (z.G + s - 1) * c.gate_rows * z.H;
        for (int l = 0; l < z.H; l++)
          g[to * z.H + l] = f >= 0      ? g[plan.row[f] * z.H + l]
                            : f == HOLD ? T(c.cell->initial[s])
                                        : c.state[s][plan.order[-1 - f] * z.H + l];
      }
    }
  }
};

// ---- backward -------------------------------------------------------------------------------------------------------

// Runs of steps from the last to the first. Each leaves its rows' gradients of the gates in one of two buffers, in blocks
// (U, rows, G, L), ready to be multiplied: by R for the step before, by W for dx, and, all threads together, into the
// sums that are the gradients of the weights.
template <class T>
struct BackwardRun {
  static constexpr int L = V<T>::lanes;
  const Call<T> c;
  const Plan& plan;
  const Shape<T> z;
  Inputs<T> in;
  Zones<T> zones;
  const ZoneRate* zone;
  Barrier barrier;
  int64_t chunk_rows;
  bool two;      // dr is not dx
  int features;  // of a row of `inputs`: h (R), 1, x (I), 1
  int h_column, x_column;

  struct Chunk {
    T *dx, *dr;        // (U, rows, G, L)
    T* inputs;         // (rows, features): h, 1, x, 1
    T* dp;             // (U, rows, P, L)
    T *raw_x, *raw_r;  // (rows, NL), before normalisation
    T *c_hat, *dnc;    // (rows, Hp)
    T* dh;             // (rows, Rp): gradient of a projected h
    int64_t t0 = 0, t1 = 0;
  } chunks[2];

  T* d;                                             // (B, S, Hp): carried gradients of the states
  T* dh;                                            // (B, Rp): of a projected h
  T *sum_x, *sum_r, *sum_proj, *sum_p;              // transposed gradients: (features, NL), (H, Rp), (P, Hp)
  T *sum_norm_x, *sum_norm_r, *sum_c, *sum_c_bias;  // (NL), (Hp)
  const T* dout;  // c.dout, or where masked steps show a carried h, a copy with their gradients moved to the step they show
  int64_t dout_step;
  T *folded, *shown;  // that copy; gradients of initial h that were shown (B, R)
  char* privates;
  size_t private_size;

  struct Private {
    T *tile, *acc, *norm, *rstd, *nc, *dc, *hc;
    int64_t* row;
    const T** s;
    uint8_t *resets, *fresh;
    Private(Arena& m, const BackwardRun& f) {
      const Shape<T>& z = f.z;
      const int64_t B = f.plan.B;
      tile = m.take<T>(BLOCK * GROUP * L);
      acc = f.c.r ? m.take<T>(B * z.Rp) : nullptr;
      norm = z.norm_c ? m.take<T>(2 * z.Hp) : nullptr;  // of two rows
      rstd = z.norm_c ? m.take<T>(B) : nullptr;
      nc = z.norm_c ? m.take<T>(B * z.Hp) : nullptr, dc = z.norm_c ? m.take<T>(B * z.Hp) : nullptr;
      hc = z.proj ? m.take<T>(B * z.Hp) : nullptr;
      row = m.take<int64_t>(B), s = m.take<const T*>(B), resets = m.take<uint8_t>(B), fresh = m.take<uint8_t>(B);
    }
  };

  explicit BackwardRun(const Call<T>& call)
      : c(with_threads(call)), plan(*call.plan), z(call), zone(zones.get(call, z)), barrier{c.threads} {
    two = c.r && (!c.cell->shared || z.norm);
    h_column = 0, x_column = c.r ? z.R + 1 : 0;
    // an odd number of cache lines a row: a power of two would put every row's line into the same place of the cache
    const int line = 64 / (int)sizeof(T);
    features = int(ceil_div(x_column + z.I + 1, line) | 1) * line;
  }

  // The gates' gradients. The first step's are read when the run before it begins with its last step: that one writes to
  // other rows of the same buffer, since no run is of one step (see chunk_start) where a buffer holds three or more.
  void lay_out_gates(Arena& m, Chunk& k) {
    k.dx = m.take<T>(chunk_rows * z.NL), k.dr = two ? m.take<T>(chunk_rows * z.NL) : k.dx;
  }
  void lay_out(Arena& m, Chunk& k) {
    lay_out_gates(m, k);
    k.inputs = m.take<T>(chunk_rows * features);
    k.dp = z.P ? m.take<T>(chunk_rows * z.P * z.Hp) : nullptr;
    k.raw_x = z.norm ? m.take<T>(chunk_rows * z.NL) : nullptr;
    k.raw_r = !z.norm || !two ? nullptr : c.cell->shared ? k.raw_x : m.take<T>(chunk_rows * z.NL);
    k.c_hat = z.norm_c ? m.take<T>(chunk_rows * z.Hp) : nullptr;
    k.dnc = z.norm_c ? m.take<T>(chunk_rows * z.Hp) : nullptr;
    k.dh = z.proj ? m.take<T>(chunk_rows * z.Rp) : nullptr;
  }

  void lay_out(Arena& m) {
    in.lay_out(m, c, z, false);
    const int64_t B = plan.B;
    // enough rows to make up for loading and storing the sums, few enough for the nearer caches
    const int64_t fit = (2 << 20) / (z.NL * (z.norm ? 8 : 1) * (int64_t)sizeof(T));
    // with one gate the inputs are the greater part of a run's memory, with two gradients a gate there is twice as much
    const int64_t enough = z.G == 1 || two ? 128 : 256;
    chunk_rows = most(B, least(plan.total, least(enough, most<int64_t>(96, fit))));
    lay_out(m, chunks[0]);
    if (c.threads > 1)
      lay_out(m, chunks[1]);  // where threads may still be adding up the one, the other is filled
    else
      chunks[1] = chunks[0];
    if (c.threads == 1 && chunk_rows < least(3 * B, plan.total)) lay_out_gates(m, chunks[1]);
    d = m.take<T>(B * z.S * z.Hp), dh = z.proj ? m.take<T>(B * z.Rp) : nullptr;
    const int x_features = z.I + 1 + (two ? 0 : x_column);
    sum_x = m.take<T>((int64_t)x_features * z.NL), sum_r = two ? m.take<T>((int64_t)(z.R + 1) * z.NL) : nullptr;
    sum_proj = z.proj ? m.take<T>((int64_t)z.H * z.Rp) : nullptr, sum_p = z.P ? m.take<T>(z.P * z.Hp) : nullptr;
    // with layer normalisation the biases' gradients are those before it
    sum_norm_x = z.norm ? m.take<T>(2 * z.NL) : nullptr, sum_norm_r = z.norm && two ? m.take<T>(2 * z.NL) : nullptr;
    sum_c = z.norm_c ? m.take<T>(2 * z.Hp) : nullptr;
    const bool fold = plan.carried_n && c.dout;
    folded = fold ? m.take<T>(B * plan.T * z.R) : nullptr, shown = fold ? m.take<T>(B * z.R) : nullptr;
    Arena count;
    Private(count, *this);
    private_size = count.used;
    privates = m.take<char>(int64_t(private_size) * c.threads);
  }

  // A masked step shows the h that an earlier one made: its gradient is that step's.
  void fold() {
    dout = c.dout, dout_step = c.out_step;
    if (!folded) return;
    for (int64_t i = 0; i < plan.B * plan.T; i++)
      for (int l = 0; l < z.R; l++) folded[i * z.R + l] = c.dout[i * c.out_step + l];
    for (int64_t i = 0; i < plan.B * z.R; i++) shown[i] = 0;
    for (int64_t i = 0; i < plan.carried_n; i++) {
      const int64_t f = plan.from[i];
      if (f == HOLD) continue;
      T* to = f >= 0 ? folded + plan.row[f] * z.R : shown + (-1 - f) * z.R;
      for (int l = 0; l < z.R; l++) to[l] += c.dout[plan.carried[i] * c.out_step + l];
    }
    dout = folded, dout_step = z.R;
  }

  void clear_sums(int tid) {
    auto clear = [&](T* p, int64_t n) {
      if (p)
        for (int64_t i = n * tid / c.threads; i < n * (tid + 1) / c.threads; i++) p[i] = 0;
    };
    clear(sum_x, (int64_t)(z.I + 1 + (two ? 0 : x_column)) * z.NL), clear(sum_r, (int64_t)(z.R + 1) * z.NL);
    clear(sum_proj, (int64_t)z.H * z.Rp), clear(sum_p, z.P * z.Hp);
    clear(sum_norm_x, 2 * z.NL), clear(sum_norm_r, 2 * z.NL), clear(sum_c, 2 * z.Hp);
  }

  void run() {
    Arena count;
    lay_out(count);
    Arena m;
    m.base = static_cast<char*>(longspan::borrow(count.used));
    lay_out(m);
    fold();
    longspan::parallel(c.threads, [](void* self, int tid) { static_cast<BackwardRun*>(self)->work(tid); }, this);
    longspan::give_back(m.base);
  }

  void work(int tid) {
    const Share sh = share_of(c, z, tid);
    Arena m;
    m.base = privates + private_size * tid;
    Private my(m, *this);
    in.fill(c, z, false, tid);
    clear_sums(tid);
    begin(sh);
    barrier.wait();
    int turn = 0;
    for (int64_t t1 = plan.steps, t0; t1 > 0; t1 = t0, turn ^= 1) {
      t0 = chunk_start(t1);
      // every thread works out the same bounds; each writes its own copy's worth, so no one waits for another's
      Chunk k = chunks[turn];
      const Chunk later = later_chunk(turn, t1);
      k.t0 = t0, k.t1 = t1;
      for (int64_t t = t1 - 1; t >= t0; t--) {
        const int R = sh.rows(active(plan, t));
        tables(sh, my, t, R);
        if (z.fused)
          step(sh, my, k, t + 1 < t1 ? k : later, t, R);
        else
          long_step(sh, my, k, t + 1 < t1 ? k : later, t, R);
        if (sh.by_units) barrier.wait();
      }
      gather(sh, k);
      barrier.wait();
      add_up(tid, k);
    }
    first_state(sh, my, later_chunk(turn, 0));
    barrier.wait();
    write(tid);
  }

  int64_t chunk_start(int64_t t1) const {
    int64_t t = t1 - 1;
    while (t > 0 && plan.offset[t1] - plan.offset[t - 1] <= chunk_rows) t--;
    return t == 1 && t1 > 3 ? 2 : t;  // no single step is left for the last
  }
  // The run of steps that begins at t, done just before: its first step's gradients are needed once more.
  Chunk later_chunk(int turn, int64_t t) const {
    Chunk k = chunks[turn ^ 1];
    k.t0 = t;
    return k;
  }

  bool resets_at(int64_t t, int64_t j) const { return plan.reset && plan.reset[plan.offset[t] + j]; }
  const T* states(int64_t t, int64_t j) const { return c.saved + z.states + (plan.offset[t] + j) * z.states_row; }
  const T* before(int64_t t, int64_t j) const {
    if (resets_at(t, j)) return in.initial;
    return t == 0 ? in.state + j * z.S * z.Hp : states(t - 1, j);
  }
  // h before step t, as wide as R.
  const T* h_before(int64_t t, int64_t j) const {
    if (t == 0 || resets_at(t, j)) return in.h_of(before(t, j), z);
    return c.out + plan.row[plan.offset[t - 1] + j] * c.out_step;
  }

  // Each row's carried gradients start as those of its final states.
  void begin(const Share& sh) {
    for (int64_t j = sh.first; j < plan.B; j += sh.step) {
      const bool reset = plan.last && plan.last[j];
      for (int i = 0; i < z.S; i++) {
        const int W = i == 0 ? z.R : z.H;
        T* to = z.proj && i == 0 ? dh + j * z.Rp : d + (j * z.S + i) * z.Hp;
        const T* from = reset || !c.dlast[i] ? nullptr : c.dlast[i] + plan.order[j] * W;
        const int l0 = sh.unit0 * L, l1 = least(sh.unit1 * L, z.proj && i == 0 ? z.Rp : z.Hp);
        for (int l = l0; l < l1; l += L) (from ? V<T>::load(from + l, most(0, W - l)) : V<T>(0.0)).store(to + l);
        for (int l = 0; z.proj && i == 0 && l < z.Hp; l += L) V<T>(0.0).store(d + j * z.S * z.Hp + l);
      }
    }
  }

  void tables(const Share& sh, Private& my, int64_t t, int R) {
    for (int m = 0; m < R; m++) {
      const int64_t j = sh.first + (int64_t)m * sh.step;
      my.row[m] = plan.row[plan.offset[t] + j];
      my.s[m] = before(t, j);
      if (!plan.reset) continue;
      my.resets[m] = resets_at(t, j);
      my.fresh[m] = j < active(plan, t + 1) && resets_at(t + 1, j);
    }
  }

  // The rows of dr at step t + 1 in chunk k, from row m on, as a multiplicand.
  Rows<T> later_rows(const Share& sh, const Chunk& k, int64_t t, int m) const {
    const int GL = z.G * L;
    const int64_t q = plan.offset[t + 1] - plan.offset[k.t0] + sh.first + (int64_t)m * sh.step;
    return {k.dr + q * GL, (ptrdiff_t)sh.step * GL, GL, (ptrdiff_t)chunk_rows * GL, z.U};
  }

  PointBackward<T> point(const Share& sh, Private& my, const Chunk& k, int64_t t) {
    PointBackward<T> q = {};
    const int64_t p = plan.offset[t] + sh.first, at = p - plan.offset[k.t0];
    const int GL = z.G * L, PL = z.P * L;
    q.H = z.H, q.Hp = z.Hp, q.Ky = z.Ky, q.K = z.K;
    q.fresh = plan.reset ? my.fresh : nullptr, q.resets = plan.reset ? my.resets : nullptr;
    if (in.drop) q.drop = {in.drop + (int64_t)sh.first * z.Rp, sh.step * z.Rp};
    q.d = {d + (int64_t)sh.first * z.S * z.Hp, sh.step * z.S * z.Hp};
    q.y = {c.saved + z.values + p * z.Ky * z.Hp, sh.step * z.Ky * z.Hp};
    q.n = {c.saved + z.states + p * z.states_row, sh.step * z.states_row};
    q.s = my.s, q.p = in.p, q.row = my.row;
    if (!z.has_h) q.h = c.out, q.h_step = c.out_step;
    q.dout = dout, q.dout_step = dout_step;
    q.dx = k.dx + at * GL, q.dx_unit = chunk_rows * GL, q.dx_row = sh.step * GL;
    q.dr = two ? k.dr + at * GL : nullptr, q.dr_unit = q.dx_unit, q.dr_row = q.dx_row;
    q.dp = z.P ? k.dp + at * PL : nullptr, q.dp_unit = chunk_rows * PL, q.dp_row = sh.step * PL;
    q.zone = zone;
    return q;
  }

  static PointBackward<T> from(const PointBackward<T>& q, int m, int rows) {
    PointBackward<T> t = q;
    t.rows = rows;
    t.s = q.s + m, t.row = q.row + m, t.d.p = q.d[m], t.y.p = q.y[m], t.n.p = q.n[m];
    t.dx = q.dx + m * q.dx_row, t.dr = q.dr ? q.dr + m * q.dr_row : nullptr, t.dp = q.dp ? q.dp + m * q.dp_row : nullptr;
    if (q.drop) t.drop.p = q.drop[m];
    if (q.fresh) t.fresh = q.fresh + m, t.resets = q.resets + m;
    return t;
  }

  // A block of rows times a panel of R: what the next step says of h; and at once the pointwise part.
  void step(const Share& sh, Private& my, const Chunk& k, const Chunk& later, int64_t t, int R) {
    PointBackward<T> q = point(sh, my, k, t);
    if (!c.r) {
      q.rows = R, q.unit0 = sh.unit0, q.units = sh.unit1 - sh.unit0;
      return c.cell->backward(q);
    }
    const int live = sh.rows(active(plan, t + 1));
    q.acc.step = GROUP * L;
    for (int m0 = 0; m0 < R; m0 += BLOCK) {
      PointBackward<T> block = from(q, m0, least(BLOCK, R - m0));
      block.acc.p = my.tile, block.live = most(0, least(block.rows, live - m0));
      for (int u = sh.unit0; u < sh.unit1; u += GROUP) {
        const int units = least(GROUP, sh.unit1 - u);
        for (int m = 0, h; m < block.live; m += h) {
          h = tile_height(block.live, m);
          fetch(block, m, h, u, units);
          columns(later_rows(sh, later, t, m0 + m), h, in.r, z.U, u, units, (const T*)nullptr, my.tile + m * q.acc.step,
                  q.acc.step);
        }
        block.acc_unit0 = u, block.unit0 = u, block.units = units;
        c.cell->backward(block);
      }
    }
  }

  // What the pointwise part will read of rows m .. m + h - 1 was written long ago: on its way while their product is computed.
  // Always inlined: a call of a function that only fetches is taken for one without effect, and dropped.
  static LS_INLINE void fetch(const PointBackward<T>& q, int m, int h, int u, int units) {
    for (int i = m; i < m + h; i++) {
      const T* const dout = q.dout ? q.dout + q.row[i] * q.dout_step + u * L : nullptr;
      const T* const out = q.h ? q.h + q.row[i] * q.h_step + u * L : nullptr;
      for (int v = 0; v < units; v++) {
        if (dout) __builtin_prefetch(dout + v * L);
        if (out) __builtin_prefetch(out + v * L);
      }
    }
  }

  void long_step(const Share& sh, Private& my, const Chunk& k, const Chunk& later, int64_t t, int R) {
    PointBackward<T> q = point(sh, my, k, t);
    q.rows = R, q.unit0 = 0, q.units = z.U, q.live = c.r ? sh.rows(active(plan, t + 1)) : 0;
    if (q.live)
      product(later_rows(sh, later, t, 0), q.live, in.r, z.Rp / L, 0, int(ceil_div(z.Rp / L, GROUP)), (const T*)nullptr,
              my.acc, z.Rp);
    q.acc = {my.acc, z.Rp};
    const int64_t at = plan.offset[t] - plan.offset[k.t0] + sh.first;
    if (z.proj) project(sh, my, k, at, R, q);
    if (z.norm) {
      q.dx = k.raw_x + at * z.NL, q.dx_unit = z.G * L, q.dx_row = sh.step * z.NL;
      q.dr = nullptr;
      if (two && !c.cell->shared) q.dr = k.raw_r + at * z.NL, q.dr_unit = z.G * L, q.dr_row = sh.step * z.NL;
    }
    if (z.norm_c)
      normalised_cell(sh, my, k, at, R, q);
    else
      c.cell->backward(q);
    if (z.norm) normalised_gates(sh, k, t, at, R);
  }

  // Through h = P hc: the gradient of hc takes the place of what the following step says of h.
  void project(const Share& sh, Private& my, const Chunk& k, int64_t at, int R, PointBackward<T>& q) {
    for (int m = 0; m < R; m++) {
      const int64_t j = sh.first + (int64_t)m * sh.step;
      T *g = k.dh + (at + (int64_t)m * sh.step) * z.Rp, *carry = dh + j * z.Rp;
      const bool takes = m < q.live && !(q.fresh && q.fresh[m]);
      const bool zoned = c.zone && c.zone[0].on;
      for (int l = 0; l < z.Rp; l++) {
        T v = carry[l];
        if (takes) v += q.acc[m][l] * (in.drop ? in.drop[j * z.Rp + l] : T(1));
        if (dout && l < z.R) v += dout[q.row[m] * dout_step + l];
        const T keep = !zoned || l >= z.R ? T(0)
                       : c.zone[0].mask   ? T(c.zone[0].mask[q.row[m] * z.R + l])
                                          : T(c.zone[0].rate);
        carry[l] = q.resets && q.resets[m] ? T(0) : keep * v;
        g[l] = v - keep * v;
      }
    }
    product(Rows<T>{k.dh + at * z.Rp, (ptrdiff_t)sh.step * z.Rp, z.Rp, 0, 1}, R, in.proj, z.U, 0, int(ceil_div(z.U, GROUP)),
            (const T*)nullptr, my.hc, z.Hp);
    q.acc = {my.hc, z.Hp}, q.live = R, q.fresh = nullptr, q.drop = {}, q.dout = nullptr;
  }

  void normalised_cell(const Share& sh, Private& my, const Chunk& k, int64_t at, int R, PointBackward<T>& q) {
    const int C = c.cell->C;
    auto hat = [&](int m) { return k.c_hat + (at + (int64_t)m * sh.step) * z.Hp; };
    const Norm<T> norm = {z.U, z.H, in.mask_h, in.norm_c, in.norm_c_bias, false};
    norm.forward(R, [&](int m) {
      const T* raw = q.n[m] + slot(C, z.S) * z.Hp;
      if (q.zone) {  // the stored c is the blended one; the raw one lies with the saved values
        T* const to = my.norm + (m & 1) * z.Hp;
        for (int u = 0; u < z.U; u++) V<T>::load(q.y[m] + ((ptrdiff_t)u * z.Ky + z.K + C) * L).store(to + u * L);
        raw = to;
      }
      return NormRow<T>{raw, hat(m), my.nc + (int64_t)m * z.Hp, my.rstd + m};
    });
    q.nc = {my.nc, z.Hp}, q.dnc = {k.dnc + at * z.Hp, sh.step * z.Hp}, q.dc = {my.dc, z.Hp};
    c.cell->backward_h(q);
    for (int m = 0; m < R; m++) {
      T* dnc = q.dnc[m];
      for (int l = z.H; l < z.Hp; l++) dnc[l] = 0;
      T* dc = my.dc + (int64_t)m * z.Hp;
      normalise_backward(dnc, {{hat(m), hat(m), in.norm_c, my.rstd[m]}}, z.U, in.mask_h, z.H, {dc}, z.U, 0);
    }
    c.cell->backward_c(q);
  }

  // From the gates' gradients to those of W x and R h before their normalisation, into the blocks.
  void normalised_gates(const Share& sh, const Chunk& k, int64_t t, int64_t at, int R) {
    const int GL = z.G * L;
    const bool shared = two && c.cell->shared;
    for (int m = 0; m < R; m++) {
      const int64_t q = at + (int64_t)m * sh.step, p = plan.offset[t] + sh.first + (int64_t)m * sh.step;
      const T *x_hat = c.saved + z.x_hat + p * z.NL, *r_hat = c.saved + z.r_hat + p * z.NL;
      const ptrdiff_t next = sh.step * z.NL;
      const Normal<T> x = {x_hat, x_hat + next, in.norm_x, c.saved[z.x_rstd + p]};
      const Normal<T> r = {r_hat, r_hat + next, in.norm_r, c.saved[z.r_rstd + p]};
      // block after block of (rows, G, L)
      T *const dx = k.dx + q * GL, *const dr = k.dr + q * GL;
      const ptrdiff_t block = chunk_rows * GL;
      auto through = [&](const T* raw, const Normal<T>& normal, T* to) {
        normalise_backward(raw + q * z.NL, {normal}, z.N, in.mask, z.G * z.H, {to}, z.G, block);
      };
      if (shared) {
        normalise_backward(k.raw_x + q * z.NL, {x, r}, z.N, in.mask, z.G * z.H, {dx, dr}, z.G, block);
      } else {
        through(k.raw_x, x, dx);
        if (two) through(k.raw_r, r, dr);
      }
    }
  }

  // The rows that the weights multiplied: h before the step (as it met R), 1, x, 1.
  void gather(const Share& sh, const Chunk& k) {
    for (int64_t t = k.t0; t < k.t1; t++)
      for (int64_t j = sh.by_units ? sh.tid : sh.first; j < active(plan, t); j += sh.by_units ? sh.threads : sh.step) {
        const int64_t p = plan.offset[t] + j;
        T* to = k.inputs + (p - plan.offset[k.t0]) * features;
        if (c.r) {
          in.put_h(h_before(t, j), j, z, to);
          to[z.R] = 1;
        }
        std::memcpy(to + x_column, c.x + plan.row[p] * z.I, z.I * sizeof(T));
        to[x_column + z.I] = 1;
      }
  }

  // This thread's part of a finished run of steps: into the weights' gradients, and dx.
  void add_up(int tid, const Chunk& k) {
    const int K = int(plan.offset[k.t1] - plan.offset[k.t0]), n = c.threads;
    const int64_t block = chunk_rows * z.G * L;
    const int from = two || !c.r ? x_column : 0;
    accumulate(K, k.inputs + from, features, x_column - from + z.I + 1, k.dx, z.N, z.G, block, sum_x, tid, n);
    if (two) accumulate(K, k.inputs, features, z.R + 1, k.dr, z.N, z.G, block, sum_r, tid, n);
    if (z.proj) add_up_projection(tid, k, K);
    if (z.P)
      add_columns(tid, z.U, [&](int u) {
        for (int i = 0; i < z.P; i++) {
          V<T> sum = V<T>::load(sum_p + i * z.Hp + u * L);
          for (int q = 0; q < K; q++) sum += V<T>::load(k.dp + ((u * chunk_rows + q) * z.P + i) * L);
          sum.store(sum_p + i * z.Hp + u * L);
        }
      });
    if (z.norm) add_up_norms(tid, k, K);
    if (c.dx) input_gradient(tid, k, K);
  }

  template <class F>
  void add_columns(int tid, int vectors, F column) {
    for (int v = int((int64_t)vectors * tid / c.threads); v < int((int64_t)vectors * (tid + 1) / c.threads); v++) column(v);
  }

  // dP (transposed: H by R) from the cells' own h, which lie with the saved states.
  void add_up_projection(int tid, const Chunk& k, int K) {
    accumulate(K, in.h_of(c.saved + z.states + plan.offset[k.t0] * z.states_row, z), (ptrdiff_t)z.states_row, z.H, k.dh,
               z.Rp / L, z.Rp / L, 0, sum_proj, tid, c.threads);
  }

  // Scales and bias of normalisations that share a dy: sums of dy * hat, for one hat or two, and of dy; WIDTH vectors from v.
  template <int HATS, int WIDTH>
  static void add_up_columns(int K, const T* dy, const T* const* hats, ptrdiff_t row, T* const* scales, T* bias) {
    V<T> sum[HATS + 1][WIDTH];
    for (int i = 0; i < WIDTH; i++) {
      for (int h = 0; h < HATS; h++) sum[h][i] = V<T>::load(scales[h] + i * L);
      sum[HATS][i] = V<T>::load(bias + i * L);
    }
    for (ptrdiff_t q = 0; q < K; q++)
      for (int i = 0; i < WIDTH; i++) {
        const V<T> g = V<T>::load(dy + q * row + i * L);
        for (int h = 0; h < HATS; h++) sum[h][i] += g * V<T>::load(hats[h] + q * row + i * L);
        sum[HATS][i] += g;
      }
    for (int i = 0; i < WIDTH; i++) {
      for (int h = 0; h < HATS; h++) sum[h][i].store(scales[h] + i * L);
      sum[HATS][i].store(bias + i * L);
    }
  }
  template <int HATS>
  void add_up_norm(int tid, int K, const T* dy, const T* const* hats, int vectors, T* const* scales, T* bias) {
    const ptrdiff_t row = (ptrdiff_t)vectors * L;
    const int v1 = int((int64_t)vectors * (tid + 1) / c.threads);
    for (int v = int((int64_t)vectors * tid / c.threads), width; v < v1; v += width) {
      width = v1 - v < 4 ? 1 : 4;
      const T* hats_v[HATS];
      T* scales_v[HATS];
      for (int h = 0; h < HATS; h++) hats_v[h] = hats[h] + v * L, scales_v[h] = scales[h] + v * L;
      (width == 4 ? add_up_columns<HATS, 4> : add_up_columns<HATS, 1>)(K, dy + v * L, hats_v, row, scales_v, bias + v * L);
    }
  }

  void add_up_norms(int tid, const Chunk& k, int K) {
    const int64_t p = plan.offset[k.t0];
    const T* const hats[] = {c.saved + z.x_hat + p * z.NL, c.saved + z.r_hat + p * z.NL};
    T* const scales[] = {sum_norm_x, sum_norm_r};
    if (two && c.cell->shared) {
      add_up_norm<2>(tid, K, k.raw_x, hats, z.N, scales, sum_norm_x + z.NL);
    } else {
      add_up_norm<1>(tid, K, k.raw_x, hats, z.N, scales, sum_norm_x + z.NL);
      if (two) add_up_norm<1>(tid, K, k.raw_r, hats + 1, z.N, scales + 1, sum_norm_r + z.NL);
    }
    if (z.norm_c) add_up_norm<1>(tid, K, k.dnc, &k.c_hat, z.U, &sum_c, sum_c + z.Hp);
  }

  // dx = dgates W for this thread's rows of the run.
  void input_gradient(int tid, const Chunk& k, int K) {
    const int GL = z.G * L, vectors = int(ceil_div(z.I, L));
    const int q0 = int((int64_t)K * tid / c.threads), q1 = int((int64_t)K * (tid + 1) / c.threads);
    T tile[TILE * GROUP * L] __attribute__((aligned(64)));
    for (int v = 0; v < vectors; v += GROUP)
      for (int q = q0, h; q < q1; q += h) {
        h = tile_height(q1 - q0, q - q0);
        const int n = least(GROUP, vectors - v);
        columns(Rows<T>{k.dx + (int64_t)q * GL, GL, GL, (ptrdiff_t)chunk_rows * GL, z.U}, h, in.w, vectors, v, n,
                (const T*)nullptr, tile, GROUP * L);
        for (int m = 0; m < h; m++) {
          T* to = c.dx + plan.row[plan.offset[k.t0] + q + m] * z.I + v * L;
          for (int i = 0; i < n; i++) {
            const int valid = least(L, z.I - (v + i) * L);
            V<T> g = V<T>::load(tile + (m * GROUP + i) * L);
            if (c.dx_add) g = g + V<T>::load(to + i * L, valid);
            g.store(to + i * L, valid);
          }
        }
      }
  }

  // Gradients of the initial states: what the first step says of them.
  void first_state(const Share& sh, Private& my, const Chunk& k) {
    const int live = sh.rows(active(plan, 0)), all = sh.rows(plan.B);
    T* acc = c.r && live && c.dstate[0] ? my.acc : nullptr;
    if (acc) {
      const int g0 = z.fused ? sh.unit0 / GROUP : 0;
      const int g1 = int(ceil_div(z.fused ? sh.unit1 : z.Rp / L, GROUP));
      product(later_rows(sh, k, -1, 0), live, in.r, z.Rp / L, g0, g1, (const T*)nullptr, acc, z.Rp);
    }
    for (int m = 0; m < all; m++) {
      const int64_t j = sh.first + (int64_t)m * sh.step, b = plan.order[j];
      const bool fresh = m < live && resets_at(0, j);
      for (int i = 0; i < z.S; i++) {
        if (!c.dstate[i]) continue;
        const int W = i == 0 ? z.R : z.H;
        const T* carry = z.proj && i == 0 ? dh + j * z.Rp : d + (j * z.S + i) * z.Hp;
        for (int l = sh.unit0 * L; l < least(W, sh.unit1 * L); l++) {
          T g = carry[l];
          if (i == 0 && acc && m < live && !fresh)
            g += acc[(int64_t)m * z.Rp + l] * (in.drop ? in.drop[j * z.Rp + l] : T(1));
          if (i == 0 && shown) g += shown[j * z.R + l];
          c.dstate[i][b * W + l] = g;
        }
      }
    }
  }

  // The sums, back in torch's layout; each thread writes some rows.
  void write(int tid) {
    const int x_at = two || !c.r ? 0 : x_column;
    write_matrix(tid, sum_x + (int64_t)x_at * z.NL, z.I, c.dw);
    if (c.r) write_matrix(tid, two ? sum_r : sum_x, z.R, c.dr);
    if (tid) return;
    const T* bx = sum_x + (int64_t)(x_at + z.I) * z.NL;
    const T* br = !c.r ? nullptr : two ? sum_r + (int64_t)z.R * z.NL : sum_x + (int64_t)z.R * z.NL;
    if (z.norm) {
      bx = sum_norm_x + z.NL, br = !two ? nullptr : c.cell->shared ? bx : sum_norm_r + z.NL;
      write_vector(sum_norm_x, c.dnorm_x), write_vector(two ? sum_norm_r : nullptr, c.dnorm_r);
    }
    write_vector(bx, c.dbx), write_vector(br, c.dbr);
    for (int i = 0; i < z.P && c.dp; i++)
      for (int l = 0; l < z.H; l++) c.dp[i * z.H + l] = sum_p[i * z.Hp + l];
    for (int l = 0; l < z.H && z.norm_c && c.dnorm_c; l++) c.dnorm_c[l] = sum_c[l], c.dnorm_c_bias[l] = sum_c[z.Hp + l];
    if (c.dproj)
      for (int r = 0; r < z.R; r++)
        for (int h = 0; h < z.H; h++) c.dproj[(int64_t)r * z.H + h] = sum_proj[(int64_t)h * z.Rp + r];
  }

  // (K, N) blocks of L -> (G*H, K)
  void write_matrix(int tid, const T* sums, int K, T* to) {
    if (!to) return;
    for (int v = int((int64_t)z.N * tid / c.threads); v < int((int64_t)z.N * (tid + 1) / c.threads); v++) {
      const int u = v / z.G, g = v % z.G, valid = least(L, z.H - u * L);
      T* rows = to + ((int64_t)g * z.H + u * L) * K;
      for (int k = 0; k < K; k += L) {
        V<T> block[L];
        for (int i = 0; i < L; i++) block[i] = k + i < K ? V<T>::load(sums + (int64_t)(k + i) * z.NL + v * L) : V<T>(0.0);
        transpose(block);
        for (int l = 0; l < valid; l++) block[l].store(rows + (int64_t)l * K + k, K - k);
      }
    }
  }
  void write_vector(const T* sums, T* to) {
    if (!to) return;
    for (int g = 0; g < z.G; g++)
      for (int l = 0; l < z.H; l++) to[g * z.H + l] = sums ? sums[(l / L * z.G + g) * L + l % L] : T(0);
  }
};

// ---- one step -------------------------------------------------------------------------------------------------------

// sums[l] += w[l] * a, lane by lane, for L rows of w, K wide; rows beyond the `valid` ones repeat the last.
template <class T>
LS_INLINE void dots(const T* w, int64_t K, int valid, const T* a, V<T> (&sums)[V<T>::lanes]) {
  constexpr int L = V<T>::lanes;
  const T* row[L];
  for (int l = 0; l < L; l++) row[l] = w + least(l, valid - 1) * K;
  int64_t k = 0;
  for (; k + L <= K; k += L) {
    const V<T> v = V<T>::load(a + k);
#pragma GCC unroll 16
    for (int l = 0; l < L; l++) sums[l] += v * V<T>::load(row[l] + k);
  }
  if (const int rest = int(K - k)) {
    const V<T> v = V<T>::load(a + k, rest);
    for (int l = 0; l < L; l++) sums[l] += v * V<T>::load(row[l] + k, rest);
  }
}

// out (B, H) and the new states n[i] (B, H) from x (B, I) and the states s[i] (B, H).
template <class T>
void one_step(const longspan::StepCall<T>& c, int64_t B, const T* x, const T* const* s, T* const* n, T* out) {
  constexpr int L = V<T>::lanes;
  const CellTable<T>& cell = *c.cell;
  const int G = cell.G, S = cell.S, H = int(c.H), U = int(ceil_div(H, L)), Hp = U * L;
  const int64_t need = 2 * (int64_t)U * G * L + (2 * S + cell.P) * Hp;
  T few[8192] __attribute__((aligned(64)));
  T* xg = need <= 8192 ? few : static_cast<T*>(longspan::borrow(size_t(need) * sizeof(T)));
  T *rg = xg + U * G * L, *before = rg + U * G * L, *after = before + S * Hp, *p = after + S * Hp;
  Inputs<T>::pack_rows(p, c.p, cell.P, H, Hp, Hp);
  const int64_t row = 0;
  const T* const states = before;
  PointForward<T> q = {};
  q.rows = 1, q.units = U, q.H = H, q.Hp = Hp, q.r = {rg, 0}, q.x = {xg, 0}, q.s = &states, q.p = p, q.n = {after, 0};
  q.has_h = true, q.row = &row, q.out_step = H;
  for (int64_t b = 0; b < B; b++) {
    for (int i = 0; i < S; i++) Inputs<T>::pack_rows(before + slot(i, S) * Hp, s[i] + b * H, 1, H, Hp, Hp);
    for (int u = 0; u < U; u++) {
      const int valid = least(L, H - u * L);
      for (int g = 0; g < G; g++) {
        const int64_t first = (int64_t)g * H + u * L;
        V<T> sums[L], bias_x(0.0), bias_r(0.0);
        if (c.bx) bias_x = V<T>::load(c.bx + first, valid);
        if (c.br) bias_r = V<T>::load(c.br + first, valid);
        for (int l = 0; l < L; l++) sums[l] = V<T>(0.0);
        dots(c.w + first * c.I, c.I, valid, x + b * c.I, sums);
        if (!cell.shared || !c.r) {  // W x and R h must stay apart
          bias_x += sums_of_each(sums);
          for (int l = 0; l < L; l++) sums[l] = V<T>(0.0);
        }
        if (c.r) dots(c.r + first * H, H, valid, s[0] + b * H, sums);
        bias_x.store(xg + (u * G + g) * L), (bias_r + sums_of_each(sums)).store(rg + (u * G + g) * L);
      }
    }
    q.out = out ? out + b * H : nullptr;
    cell.forward(q);
    for (int i = 0; i < S; i++) std::memcpy(n[i] + b * H, after + slot(i, S) * Hp, size_t(H) * sizeof(T));
  }
  if (xg != few) longspan::give_back(xg);
}

// ---- the driver -----------------------------------------------------------------------------------------------------

template <class T>
void forward(const Call<T>& c) {
  ForwardRun<T>(c).run();
}
template <class T>
void backward(const Call<T>& c) {
  BackwardRun<T>(c).run();
}
template <class T>
int64_t saved_per_row(const Call<T>& c) {
  return Shape<T>(c).saved_per_row;
}

// Chris Wellons' low-bias 32-bit mixer.
LS_INLINE uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x21f0aaadu;
  x = (x ^ (x >> 15)) * 0x735a2d97u;
  return x ^ (x >> 15);
}

// 1 with probability `rate`, else 0: number i depends on i and the seed alone.
void draw(uint8_t* to, int64_t n, double rate, uint64_t seed) {
  const double scaled = rate * 4294967296.0;
  const uint32_t below = scaled >= 4294967295.0 ? 4294967295u : uint32_t(scaled), high = uint32_t(seed >> 32);
  for (int64_t block = 0; block < n; block += 1 << 16) {
    const uint32_t low = mixed(uint32_t(seed) + uint32_t(block >> 16) * 0x9e3779b9u);
    const int many = int(least<int64_t>(n - block, 1 << 16));
    for (int i = 0; i < many; i++) to[block + i] = mixed(mixed(uint32_t(i) + low) ^ high) < below;
  }
}

double seconds_now() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// Multiply-adds on registers alone, as many at once as a tile has: the most this core can do.
double peak(double seconds) {
  constexpr int L = V<float>::lanes, K = 512;
  float a[TILE * K] __attribute__((aligned(64))), b[K * GROUP * L] __attribute__((aligned(64))), out[TILE * GROUP * L];
  for (float& v : a) v = 1e-3f;
  for (float& v : b) v = 1e-3f;
  double best = 0;
  for (double end = seconds_now() + seconds; seconds_now() < end;) {
    const double t0 = seconds_now();
    for (int i = 0; i < 50; i++)
      columns(Rows<float>{a, K, K, 0, 1}, TILE, b, GROUP, 0, GROUP, (const float*)nullptr, out, GROUP * L);
    best = most(best, 50 * 2.0 * TILE * GROUP * L * K / (seconds_now() - t0) * 1e-9);
  }
  return best;
}

template <class C> struct NormOf {
  typedef NoNorm type;
};
#define LONGSPAN_NORM_OF(name, norm) \
  template <> struct NormOf<name> {  \
    typedef norm type;               \
  };
LONGSPAN_NORM_CELLS(LONGSPAN_NORM_OF)

const longspan::CellEntry* const* entries() {
#define LONGSPAN_ENTRY(name) Entry<name, NormOf<name>::type>::get(),
  static const longspan::CellEntry* const all[] = {LONGSPAN_CELLS(LONGSPAN_ENTRY)};
  return all;
}
#define LONGSPAN_ONE(name) +1
constexpr int CELL_COUNT = 0 LONGSPAN_CELLS(LONGSPAN_ONE);

}  // namespace

#define LONGSPAN_TEXT(a) LONGSPAN_TEXT2(a)
#define LONGSPAN_TEXT2(a) #a
const longspan::Driver* driver() {
  static const longspan::Driver d = {LONGSPAN_TEXT(LS_ISA),
                                     LS_FLAGS,
                                     CELL_COUNT,
                                     entries(),
                                     saved_per_row<float>,
                                     saved_per_row<double>,
                                     forward<float>,
                                     forward<double>,
                                     backward<float>,
                                     backward<double>,
                                     one_step<float>,
                                     one_step<double>,
                                     draw,
                                     peak};
  return &d;
}

}  // namespace LS_ISA
