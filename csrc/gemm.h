// The matrix product in the registers: a tile of rows times a group of vectors of columns.
//
//   acc[m][v] = start[m][v] + sum over k, in order, of a(m, k) * b(k, v)
//
// One accumulator per output and one order of summation, whatever the tile's height: a row's result does not depend on
// which rows share its tile, hence neither on the number of threads.
#pragma once
#include "simd.h"

namespace LS_ISA {
namespace {

// The tile's shape: TILE rows times GROUP vectors of accumulators, GROUP vectors of b and one broadcast of a fill the registers.
constexpr int GROUP = REGISTERS >= 32 ? 4 : 2, TILE = (REGISTERS - GROUP - 1) / GROUP;

// Groups that a tile of `rows` rows takes at once, at most: fewer than eight accumulators would leave each multiply-add waiting
// for the one before it.
constexpr int groups_at_once(int rows) { return REGISTERS >= 32 || rows > 3 ? 1 : rows == 1 ? 4 : 2; }

// a: (rows, K) read as a[m * row + (k / inner) * outer + k % inner]; b: (K, NV, lanes) packed, or vector v of step k at
// b[v][k * b_step].
template <class T>
struct Rows {
  const T* a;
  ptrdiff_t row;    // from one row to the next
  int inner;        // numbers that lie side by side
  ptrdiff_t outer;  // from one run of them to the next
  int runs;         // runs; K = runs * inner
};

// acc += A B for M rows and NV packed vectors of columns; b advances by `b_step` numbers a step.
template <int M, int NV, class T>
LS_INLINE void multiply(const Rows<T>& A, const T* __restrict b, ptrdiff_t b_step, V<T> (&acc)[M][NV]) {
  constexpr int L = V<T>::lanes;
  const T* run = A.a;
  for (int q = 0; q < A.runs; q++, run += A.outer) {
    const T* a[M];
    for (int m = 0; m < M; m++) a[m] = run + m * A.row;
#pragma GCC unroll 4
    for (int k = 0; k < A.inner; k++, b += b_step) {
      V<T> w[NV];
      for (int v = 0; v < NV; v++) w[v] = V<T>::load(b + v * L);
      for (int m = 0; m < M; m++) {
        const V<T> u = V<T>::all(a[m][k]);
        for (int v = 0; v < NV; v++) acc[m][v] += u * w[v];
      }
    }
  }
}

// The same for few rows and J groups: vector v of step k at b[(v / GROUP) * group_step + k * GROUP * lanes + v % GROUP * lanes].
template <int M, int J, class T>
LS_INLINE void multiply_groups(const Rows<T>& A, const T* __restrict b, ptrdiff_t group_step, V<T> (&acc)[M][J * GROUP]) {
  constexpr int L = V<T>::lanes;
  const T* run = A.a;
  for (int q = 0; q < A.runs; q++, run += A.outer) {
    const T* a[M];
    for (int m = 0; m < M; m++) a[m] = run + m * A.row;
#pragma GCC unroll 2
    for (int k = 0; k < A.inner; k++, b += GROUP * L) {
      V<T> u[M];
      for (int m = 0; m < M; m++) u[m] = V<T>::all(a[m][k]);
      for (int v = 0; v < J * GROUP; v++) {
        const V<T> w = V<T>::load(b + v / GROUP * group_step + v % GROUP * L);
        for (int m = 0; m < M; m++) acc[m][v] += u[m] * w;
      }
    }
  }
}

// acc += A^T B: a(m, k) = a[k * a_step + m], vector v of step k at b[v][k * b_step].
template <int M, int NV, class T>
LS_INLINE void multiply_transposed(int K, const T* __restrict a, ptrdiff_t a_step, const T* const* b, ptrdiff_t b_step,
                                   V<T> (&acc)[M][NV]) {
  const T* p[NV];
  for (int v = 0; v < NV; v++) p[v] = b[v];
#pragma GCC unroll 2
  for (int k = 0; k < K; k++, a += a_step) {
    V<T> w[NV];
    for (int v = 0; v < NV; v++) w[v] = V<T>::load(p[v]), p[v] += b_step;
    for (int m = 0; m < M; m++) {
      const V<T> u = V<T>::all(a[m]);
      for (int v = 0; v < NV; v++) acc[m][v] += u * w[v];
    }
  }
}

}  // namespace
}  // namespace LS_ISA
