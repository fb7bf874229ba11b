// Matrix products of any size, cut into tiles that fit the registers.
#pragma once
#include "shape.h"

namespace LS_ISA {
namespace {

// Kernel::tile<M, NV>, compiled for every height M <= TILE and width NV <= GROUP and looked up at run time.
template <class Kernel>
struct Tiles {
  typedef typename Kernel::Tile Tile;
  template <int M = TILE, int NV = GROUP>
  static Tile of(int m, int nv) {
    if constexpr (M > 1)
      if (m < M) return of<M - 1, NV>(m, nv);
    if constexpr (NV > 1)
      if (nv < NV) return of<M, NV - 1>(M, nv);
    return Kernel::template tile<M, NV>;
  }
};

// Bytes of packed vectors that all rows meet before the next are read, where the nearest cache would not hold a whole group of
// them. With 32 registers a group is so wide that reading the sums back and forth would cost more than it saves.
constexpr int DEPTH_BYTES = REGISTERS >= 32 ? 1 << 30 : 18 << 10;

constexpr int BLOCK_ROWS = 8 * TILE;  // rows whose product stays in the nearest cache until their pointwise part

// A tile of a product with packed columns: out(m, v) = start(v) + sum over k of a(m, k) b(k, v). With start = out the sum is
// added to what stands there.
template <class T>
struct Product {
  typedef void (*Tile)(const Rows<T>&, const T* b, const T* start, T* out, ptrdiff_t out_row);
  template <int M, int NV>
  static void tile(const Rows<T>& A, const T* b, const T* start, T* out, ptrdiff_t out_row) {
    constexpr int L = V<T>::lanes;
    V<T> acc[M][NV];
    for (int v = 0; v < NV; v++) {
      const V<T> s = start ? V<T>::load(start + v * L) : V<T>(0.0);
      for (int m = 0; m < M; m++) acc[m][v] = start == out ? V<T>::load(out + m * out_row + v * L) : s;
    }
    multiply<M, NV, T>(A, b, NV * L, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) acc[m][v].store(out + m * out_row + v * L);
  }

  // The same for a few rows and J groups at once.
  template <int M, int J>
  static void groups(const Rows<T>& A, const T* b, const T* start, T* out, ptrdiff_t out_row) {
    constexpr int L = V<T>::lanes, NV = J * GROUP;
    V<T> acc[M][NV];
    for (int v = 0; v < NV; v++) {
      const V<T> s = start ? V<T>::load(start + v * L) : V<T>(0.0);
      for (int m = 0; m < M; m++) acc[m][v] = s;
    }
    multiply_groups<M, J, T>(A, b, (ptrdiff_t)GROUP * L * A.inner * A.runs, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) acc[m][v].store(out + m * out_row + v * L);
  }
  static Tile groups_of(int m, int n) {
    return m == 3 ? groups<3, 2> : m == 2 ? groups<2, 2> : n == 2 ? groups<1, 2> : groups<1, 4>;
  }
};

// out(m, v) = start(v) + A b(v) for M <= TILE rows and vectors v0 .. v0 + n - 1 (v0 a multiple of GROUP) of `vectors`.
template <class T>
void columns(const Rows<T>& A, int M, const T* packed, int vectors, int v0, int n, const T* start, T* out,
             ptrdiff_t out_row) {
  constexpr int L = V<T>::lanes;
  const ptrdiff_t K = (ptrdiff_t)A.inner * A.runs;
  for (int v = v0, J = groups_at_once(M); v < v0 + n; v += J * GROUP) {
    while (J > 1 && v + J * GROUP > least(v0 + n, vectors)) J /= 2;
    const auto tile = J > 1 ? Product<T>::groups_of(M, J) : Tiles<Product<T>>::of(M, least(GROUP, vectors - v));
    tile(A, packed + v * L * K, start ? start + v * L : nullptr, out + (v - v0) * L, out_row);
  }
}

// The height of the tile that starts at row m0 of `rows`: all tiles are of nearly equal height.
LS_INLINE int tile_height(int rows, int m0) {
  const int left = rows - m0, tiles = int(ceil_div(left, TILE));
  return int(ceil_div(left, tiles));
}

// out(m, v) = start(v) + A b(v) for `rows` rows and vectors v0 .. v0 + n - 1 as in columns(). All rows meet a part of the packed
// vectors, which stays in the nearest cache, before the next part is read.
template <class T>
void block(const Rows<T>& A, int rows, const T* packed, int vectors, int v0, int n, const T* start, T* out,
           ptrdiff_t out_row) {
  constexpr int L = V<T>::lanes, MOST = DEPTH_BYTES / (GROUP * LS_BYTES);
  const int K = A.inner * A.runs;
  if (rows <= TILE || K <= MOST * 4 / 3) {
    for (int m = 0, h; m < rows; m += h) {
      h = tile_height(rows, m);
      Rows<T> some = A;
      some.a += m * A.row;
      columns(some, h, packed, vectors, v0, n, start, out + m * out_row, out_row);
    }
    return;
  }
  const int step = A.runs > 1 ? A.inner : 1, parts = int(ceil_div(K, MOST));
  const int depth = int(ceil_div(ceil_div(K, step), parts)) * step;
  for (int v = v0; v < v0 + n; v += GROUP) {
    const int width = least(GROUP, vectors - v);
    T* const to = out + (v - v0) * L;
    for (int k = 0; k < K; k += depth) {
      const int here = least(depth, K - k);
      const T* const b = packed + ((ptrdiff_t)v * K + (ptrdiff_t)k * width) * L;
      for (int m = 0, h; m < rows; m += h) {
        h = tile_height(rows, m);
        const T* const a = A.a + m * A.row + (A.runs > 1 ? k / A.inner * A.outer : k);
        const Rows<T> some = {a, A.row, A.runs > 1 ? A.inner : here, A.outer, A.runs > 1 ? here / A.inner : 1};
        T* const row = to + m * out_row;
        Tiles<Product<T>>::of(h, width)(some, b, k ? row : start ? start + v * L : nullptr, row, out_row);
      }
    }
  }
}

// out (rows, vectors * L) for groups first .. last - 1. All rows meet one group of columns, which stays in the cache, before
// the next group is read.
template <class T>
void product(const Rows<T>& A, int rows, const T* packed, int vectors, int first, int last, const T* start, T* out,
             ptrdiff_t out_row) {
  for (int g = first; g < last; g++) {
    const int v = g * GROUP;
    block(A, rows, packed, vectors, v, least(GROUP, vectors - v), start, out + v * V<T>::lanes, out_row);
  }
}

// A tile of a product of two gathered matrices: out(f, v) += sum over k of a(k, f) b(k, v), for M features f.
template <class T>
struct Sum {
  typedef void (*Tile)(int K, const T* a, ptrdiff_t a_step, const T* const* b, ptrdiff_t b_step, T* out, ptrdiff_t out_row);
  template <int M, int NV>
  static void tile(int K, const T* a, ptrdiff_t a_step, const T* const* b, ptrdiff_t b_step, T* out, ptrdiff_t out_row) {
    constexpr int L = V<T>::lanes;
    V<T> acc[M][NV];
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) {
        acc[m][v] = V<T>(0.0);
        __builtin_prefetch(out + m * out_row + v * L, 1);  // read and written after the loop
      }
    multiply_transposed<M, NV, T>(K, a, a_step, b, b_step, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) {
        T* o = out + m * out_row + v * L;
        (V<T>::load(o) + acc[m][v]).store(o);
      }
  }
};

// A matrix of K rows of features, of which TILE lie side by side: features t * TILE .. of row k at p + t * tile + k * row.
template <class T>
struct Features {
  const T* p;
  ptrdiff_t tile, row;
  Features from(int feature) const { return {p + feature / TILE * tile + feature % TILE, tile, row}; }
};

// Sums of products of F features and some vectors, a group of vectors after the other: (groups, F, GROUP * L).
template <class T>
struct Sums {
  T* p = nullptr;
  int F = 0;
  static int64_t size(int F, int vectors) { return ceil_div(vectors, GROUP) * F * GROUP * V<T>::lanes; }
  // Vector v of feature f.
  T* at(int f, int v) const { return p + ((int64_t)(v / GROUP) * F + f) * GROUP * V<T>::lanes + v % GROUP * V<T>::lanes; }
};

// sums += a^T b for the F features of `sums`, of which thread `tid` of `threads` computes its part of the tiles. Vector v of row
// q of b lies at b + (v / width) * block + q * width * L + (v % width) * L.
template <class T>
void accumulate(int K, const Features<T>& a, const T* b, int vectors, int width, ptrdiff_t block, const Sums<T>& sums,
                int tid, int threads) {
  constexpr int L = V<T>::lanes, RUN = 8 * TILE;  // features that a thread takes at once
  const int F = sums.F;
  const int64_t groups = ceil_div(vectors, GROUP), runs = ceil_div(F, RUN), items = groups * runs;
  for (int64_t item = items * tid / threads; item < items * (tid + 1) / threads; item++) {
    const int v0 = int(item / runs) * GROUP, nv = least(GROUP, vectors - v0);
    const int f1 = least(F, int(item % runs + 1) * RUN);
    const T* bv[GROUP];
    for (int i = 0; i < nv; i++) bv[i] = b + (v0 + i) / width * block + (v0 + i) % width * L;
    for (int f = int(item % runs) * RUN; f < f1; f += TILE) {
      const auto tile = Tiles<Sum<T>>::of(least(TILE, f1 - f), nv);
      tile(K, a.from(f).p, a.row, bv, (ptrdiff_t)width * L, sums.at(f, v0), (ptrdiff_t)GROUP * L);
    }
  }
}

}  // namespace
}  // namespace LS_ISA
