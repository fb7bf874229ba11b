// One step of a few rows at inference, for streams, and a linear layer over them: the weights are read where they lie.
#pragma once
#include "int8.h"
#include "packing.h"

namespace LS_ISA {
namespace {

// sums[l] += w[l] * a, lane by lane, for L rows of w, K wide; rows beyond the `valid` ones repeat the last.
template <class T>
LS_INLINE void dots(const T* w, int64_t K, int valid, const T* a, V<T> (&sums)[V<T>::lanes]) {
  constexpr int L = V<T>::lanes;
  int64_t k = 0;
  if (valid == L) {  // rows at one distance, which needs fewer registers than their addresses
    const T* fourth[(L + 3) / 4];
    for (int l = 0; l < L; l += 4) fourth[l / 4] = w + l * K;
    for (; k + L <= K; k += L) {
      const V<T> v = V<T>::load(a + k);
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) sums[l] += v * V<T>::load(fourth[l / 4] + (l % 4) * K + k);
    }
    if (k == K) return;
  }
  const T* row[L];
  for (int l = 0; l < L; l++) row[l] = w + least(l, valid - 1) * K;
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

// W x + b_x and R h + b_r of one row by int8 weights, vector (u, g) at (u * G + g) * L; rounded: room for x and h in int8.
template <class T>
void int8_gates(const longspan::StepCall<T>& c, const T* x, const T* h, int8_t* rounded, T* xg, T* rg) {
  if constexpr (sizeof(T) == sizeof(float)) {
    constexpr int L = V<T>::lanes;
    const int G = c.cell->G, H = int(c.H);
    int8_t* const rounded_h = rounded + int8_padded(c.I);
    const float x_scale = int8_round(x, c.I, rounded), h_scale = c.r ? int8_round(h, H, rounded_h) : 0.0f;
    for (int u = 0; u * L < H; u++)
      for (int g = 0; g < G; g++) {
        const int64_t first = (int64_t)g * H + u * L;
        const int valid = least(L, H - u * L);
        V<T> a = int8_w(c).times(u, g, rounded, x_scale, true), b(0.0);
        if (c.bx) a += V<T>::load(c.bx + first, valid);
        if (c.r) b += int8_r(c).times(u, g, rounded_h, h_scale, true);
        if (c.br) b += V<T>::load(c.br + first, valid);
        a.store(xg + (u * G + g) * L), b.store(rg + (u * G + g) * L);
      }
  }
}

// out (B, H) and the new states n[i] (B, H) from x (B, I) and the states s[i] (B, H).
template <class T>
void one_step(const longspan::StepCall<T>& c, int64_t B, const T* x, const T* const* s, T* const* n, T* out) {
  constexpr int L = V<T>::lanes;
  const CellTable<T>& cell = *c.cell;
  const int G = cell.G, S = cell.S, H = int(c.H), U = int(ceil_div(H, L)), Hp = U * L;
  const int64_t int8 = c.w_scale ? (int8_padded(c.I) + int8_padded(H)) / int64_t(sizeof(T)) : 0;
  const int64_t need = 2 * (int64_t)U * G * L + (2 * S + cell.P) * Hp + int8;
  T few[8192] __attribute__((aligned(64)));
  T* xg = need <= 8192 ? few : static_cast<T*>(longspan::borrow(size_t(need) * sizeof(T)));
  T *rg = xg + U * G * L, *before = rg + U * G * L, *after = before + S * Hp, *p = after + S * Hp;
  int8_t* const rounded = reinterpret_cast<int8_t*>(p + cell.P * Hp);
  pack_rows(p, c.p, cell.P, H, Hp, Hp);
  const int64_t row = 0;
  const T* const states = before;
  PointForward<T> q = {};
  q.rows = 1, q.units = U, q.H = H, q.Hp = Hp, q.r = {rg, 0}, q.x = {xg, 0}, q.s = &states, q.p = p, q.n = {after, 0};
  q.has_h = true, q.row = &row, q.out_step = H;
  for (int64_t b = 0; b < B; b++) {
    for (int i = 0; i < S; i++) pack_rows(before + slot(i, S) * Hp, s[i] + b * H, 1, H, Hp, Hp);
    if (c.w_scale) int8_gates(c, x + b * c.I, s[0] + b * H, rounded, xg, rg);
    for (int u = 0; u < U && !c.w_scale; u++) {
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

template <class T>
void few_rows_linear(const longspan::LinearCall<T>& c) {
  constexpr int L = V<T>::lanes;
  for (int64_t v = 0; v < c.V; v += L) {
    const int valid = int(least<int64_t>(L, c.V - v));
    const V<T> bias = c.bias ? V<T>::load(c.bias + v, valid) : V<T>(0.0);
    for (int64_t b = 0; b < c.B; b++) {
      V<T> sums[L];
      for (int l = 0; l < L; l++) sums[l] = V<T>(0.0);
      dots(c.w + v * c.K, c.K, valid, c.x + b * c.K, sums);
      (bias + sums_of_each(sums)).store(c.out + b * c.V + v, valid);
    }
  }
}

}  // namespace
}  // namespace LS_ISA
