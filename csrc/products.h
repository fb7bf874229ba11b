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

constexpr int BLOCK_ROWS = 8 * TILE;  // rows whose product stays in the nearest cache until their pointwise part

// A tile of a product with packed columns: out(m, v) = start(v) + sum over k of a(m, k) b(k, v).
template <class T>
struct Product {
  typedef void (*Tile)(const Rows<T>&, const T* b, const T* start, T* out, ptrdiff_t out_row);
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

// out (rows, vectors * L) for groups first .. last - 1. All rows meet one group of columns, which stays in the cache, before
// the next group is read.
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

// sums (F, vectors * L) += a (K, F)^T b, of which thread `tid` of `threads` computes its part of the tiles. Vector v of row
// q of b lies at b + (v / width) * block + q * width * L + (v % width) * L.
template <class T>
void accumulate(int K, const T* a, ptrdiff_t a_step, int F, const T* b, int vectors, int width, ptrdiff_t block, T* sums,
                int tid, int threads) {
  constexpr int L = V<T>::lanes, RUN = 8 * TILE;  // features that one group of vectors meets before the next is read
  const int64_t groups = ceil_div(vectors, GROUP), runs = ceil_div(F, RUN), items = groups * runs;
  for (int64_t item = items * tid / threads; item < items * (tid + 1) / threads; item++) {
    const int v0 = int(item / runs) * GROUP, nv = least(GROUP, vectors - v0);
    const int f1 = least(F, int(item % runs + 1) * RUN);
    const T* bv[GROUP];
    for (int i = 0; i < nv; i++) bv[i] = b + (v0 + i) / width * block + (v0 + i) % width * L;
    for (int f = int(item % runs) * RUN, h; f < f1; f += h) {
      h = tile_height(f1, f);
      const auto tile = Tiles<Sum<T>>::of(h, nv);
      tile(K, a + f, a_step, bv, (ptrdiff_t)width * L, sums + (ptrdiff_t)f * vectors * L + v0 * L, (ptrdiff_t)vectors * L);
    }
  }
}

}  // namespace
}  // namespace LS_ISA
