// Weights and biases copied into padded vectors, in the order in which the products read them.
//
// Gates lie in blocks (U, G, L): for each unit (a vector of L hidden numbers) its G gates side by side, padded with zeros.
#pragma once
#include "shape.h"

namespace LS_ISA {
namespace {

LS_INLINE int64_t packed_size(int64_t K, int64_t vectors, int lanes) { return K * vectors * lanes; }

// w (G*H, K) by rows -> groups of vectors: b(at + k, v = (u, g)) lane l = w[g*H + u*L + l][k], for groups first .. last - 1
// of a matrix with `all` rows k.
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

// (rows, width) -> rows of `padded` numbers, one every `step`, with zeros beyond `width`; all zeros where `from` is null.
template <class T>
void pack_rows(T* to, const T* from, int rows, int width, int padded, int step) {
  constexpr int L = V<T>::lanes;
  for (int i = 0; i < rows; i++)
    for (int l = 0; l < padded; l += L)
      (from ? V<T>::load(from + (ptrdiff_t)i * width + l, most(0, width - l)) : V<T>(0.0)).store(to + i * step + l);
}

}  // namespace
}  // namespace LS_ISA
