// The pointwise part of a cell's step over a tile of rows: loads, the cell's own equations, zoneout, stores.
#pragma once
#include "call.h"
#include "simd.h"

namespace LS_ISA {
namespace {

using longspan::CellTable;
using longspan::PointBackward;
using longspan::PointForward;
using longspan::ZoneRate;

// Where state i lies in a row of states: h last, because a row may go without it.
constexpr int slot(int i, int S) { return i == 0 ? S - 1 : i - 1; }

enum Part { WHOLE, HALF_C, HALF_H };  // a layer-normalised step comes in two halves

// The share of the previous state that zoneout keeps: 0 or 1 by the mask, or the rate.
template <class T>
LS_INLINE V<T> kept(const ZoneRate& z, int64_t row, int j, int valid) {
  if (!z.mask) return V<T>(z.rate);
  T a[V<T>::lanes] = {};
  const uint8_t* m = z.mask + row * z.width + j;
  for (int i = 0; i < valid; i++) a[i] = T(m[i]);
  return V<T>::load(a);
}

constexpr int some(int n) { return n > 0 ? n : 1; }

constexpr int TOGETHER = REGISTERS >= 32 ? 2 : 1;  // rows whose equations are computed side by side

// Rows m .. m + N - 1. PLAIN: without zoneout, gates to be shown, dropout and resets; knowing so spares registers.
template <class C, Part PART, bool PLAIN, int N, class T>
LS_INLINE void forward_unit(const PointForward<T>& q, int m, int u, int valid) {
  typedef V<T> One;
  typedef Abreast<T, N> W;
  constexpr int G = C::G, S = C::S, P = C::P, K = C::K, L = One::lanes;
  const int j = u * L, saved = u * q.Ky * L;
  W x[G], r[G], s[S], p[some(P)], n[S], y[some(K)], g[G];
  for (int k = 0; k < N; k++) {
    for (int i = 0; i < G; i++) x[i].v[k] = One::load(q.x[m + k] + (u * G + i) * L);
    if (C::recurrent)
      for (int i = 0; i < G; i++) r[i].v[k] = One::load(q.r[m + k] + ((u - q.r_unit0) * G + i) * L);
    for (int i = 0; i < S; i++) s[i].v[k] = i > 0 || q.has_h ? One::load(q.s[m + k] + slot(i, S) * q.Hp + j) : One(0.0);
    for (int i = 0; i < P; i++) p[i].v[k] = One::load(q.p + i * q.Hp + j);
  }
  if constexpr (PART == WHOLE) C::forward(x, r, s, p, n, y, g);
  if constexpr (PART == HALF_C) {
    // each half sets its own; the rest passes through
    for (int i = 0; i < K; i++) y[i] = W(0.0);
    for (int i = 0; i < G; i++) g[i] = W(0.0);
    C::forward_c(x, r, s, p, n, y, g);
  }
  if constexpr (PART == HALF_H) {
    // what the first half made: the raw states (before zoneout), the saved values and the gates
    W nc;
    for (int k = 0; k < N; k++) {
      nc.v[k] = One::load(q.nc[m + k] + j);
      for (int i = 1; i < S; i++) n[i].v[k] = One::load(q.n[m + k] + slot(i, S) * q.Hp + j);
      for (int i = 0; i < K; i++) y[i].v[k] = One::load(q.y[m + k] + saved + i * L);
      const T* const gates = q.gates + q.row[m + k] * q.H + j;
      for (int i = 0; i < G; i++) g[i].v[k] = !PLAIN && q.gates ? One::load(gates + i * q.gates_step, valid) : One(0.0);
    }
    C::forward_h(x, r, s, p, nc, n, y, g);
  }
  for (int k = 0; k < N; k++) {
    T* const to = q.n[m + k] + j;
    if (q.y) {
      T* const yy = q.y[m + k] + saved;
      for (int i = 0; i < K; i++) {
        y[i].v[k].store(yy + i * L);
        __builtin_prefetch(yy + N * q.y.step + i * L, 1);
      }
      if (!PLAIN && q.zone && PART != HALF_C)
        for (int i = 0; i < S; i++) n[i].v[k].store(yy + (q.Ky - S + i) * L);
    }
    if (!PLAIN && q.zone && PART != HALF_C)
      for (int i = 0; i < S; i++)
        if (q.zone[i].on && (i > 0 || q.out))
          n[i].v[k] = n[i].v[k] + kept<T>(q.zone[i], q.row[m + k], j, valid) * (s[i].v[k] - n[i].v[k]);
    if (!PLAIN && q.gates) {
      T* const to = q.gates + q.row[m + k] * q.H + j;
      if (PART == WHOLE && q.gates_non_temporal) {
        for (int i = 0; i < G; i++) g[i].v[k].store_non_temporal(to + i * q.gates_step);
        for (int i = 1; i < S; i++) n[i].v[k].store_non_temporal(to + (G + i - 1) * q.gates_step);
      } else {
        for (int i = 0; i < G; i++) g[i].v[k].store(to + i * q.gates_step, valid);
        for (int i = 1; i < S && PART != HALF_C; i++) n[i].v[k].store(to + (G + i - 1) * q.gates_step, valid);
      }
    }
    for (int i = 0; i < S; i++)
      if (i > 0 || (q.has_h && PART != HALF_C)) n[i].v[k].store(to + slot(i, S) * q.Hp);
    if (PART == HALF_C) continue;
    if (q.out) n[0].v[k].store(q.out + q.row[m + k] * q.out_step + j, valid);
    if (!q.a) continue;
    One h = n[0].v[k];
    if (!PLAIN && q.resets && q.resets[m + k]) h = One(C::initial(0));
    if (!PLAIN && q.drop) h = h * One::load(q.drop[m + k] + j);
    h.store(q.a[m + k] + j);
  }
}

template <class C, Part PART, class T>
LS_INLINE void backward_unit(const PointBackward<T>& q, int m, int u, int valid) {
  typedef V<T> W;
  constexpr int G = C::G, S = C::S, P = C::P, K = C::K, L = W::lanes;
  const int j = u * L;
  W y[some(K)], s[S], p[some(P)], n[S], d[S], keep[S], dx[G], dr[G], ds[S], dp[some(P)];
  const T* yy = q.y[m] + (ptrdiff_t)u * q.Ky * L;
  T* carry = q.d[m] + j;
  for (int i = 0; i < K; i++) {
    y[i] = W::load(yy + i * L);
    __builtin_prefetch(yy + q.y.step + i * L);  // the next row's: saved long ago, so far away by now
  }
  for (int i = 0; i < P; i++) p[i] = W::load(q.p + i * q.Hp + j);
  for (int i = 0; i < S; i++) {
    // only what the equations read: a row of states may go without h
    if (C::uses_s >> i & 1) s[i] = W::load(q.s[m] + slot(i, S) * q.Hp + j);
    if (C::uses_n >> i & 1)
      n[i] = q.zone      ? W::load(yy + (q.K + i) * L)
             : !i && q.h ? W::load(q.h + q.row[m] * q.h_step + j, valid)
                         : W::load(q.n[m] + slot(i, S) * q.Hp + j);
    d[i] = W::load(carry + i * q.Hp);
  }
  if (m < q.live && !(q.fresh && q.fresh[m])) {
    const W h = W::load(q.acc[m] + (u - q.acc_unit0) * L);
    d[0] = d[0] + (q.drop ? h * W::load(q.drop[m] + j) : h);
  }
  if (q.dout) d[0] = d[0] + W::load(q.dout + q.row[m] * q.dout_step + j, valid);
  if (q.zone)
    for (int i = 0; i < S; i++) {
      keep[i] = W(0.0);
      if (!q.zone[i].on) continue;
      const W z = kept<T>(q.zone[i], q.row[m], j, valid);
      keep[i] = z * d[i];
      d[i] = d[i] - keep[i];
    }
  if constexpr (PART == WHOLE) {
    C::backward(y, s, p, n, d, dx, dr, ds, dp);
  } else {
    W dn[S], dnc;
    C::backward_h(y, s, p, n, W::load(q.nc[m] + j), d[0], dx, dr, ds, dp, dn, dnc);
    if (PART == HALF_H) return dnc.store(q.dnc[m] + j);
    for (int i = 1; i < S; i++) d[i] = d[i] + dn[i];
    d[C::C] = d[C::C] + W::load(q.dc[m] + j);
    C::backward_c(y, s, p, n, d, dx, dr, ds, dp);
  }
  if (q.zone)
    for (int i = 0; i < S; i++) ds[i] = ds[i] + keep[i];
  const bool reset = q.resets && q.resets[m];
  for (int i = 0; i < S; i++) (reset ? W(0.0) : ds[i]).store(carry + i * q.Hp);
  if (valid < L) {  // lanes beyond H: whatever the equations made of their zeros stays out of the sums
    T a[L] = {};
    for (int i = 0; i < valid; i++) a[i] = 1;
    const W one = W::load(a);
    for (int i = 0; i < G; i++) dx[i] = pick<T>(one.v == one.v + one.v, W(0.0), dx[i]);
    for (int i = 0; i < G; i++) dr[i] = pick<T>(one.v == one.v + one.v, W(0.0), dr[i]);
  }
  T* to = q.dx + u * q.dx_unit + m * q.dx_row;
  for (int i = 0; i < G; i++) dx[i].store(to + i * L);
  if (q.dr) {
    to = q.dr + u * q.dr_unit + m * q.dr_row;
    for (int i = 0; i < G; i++) dr[i].store(to + i * L);
  }
  if (P && q.dp) {
    to = q.dp + u * q.dp_unit + m * q.dp_row;
    for (int i = 0; i < P; i++) dp[i].store(to + i * L);
  }
}

template <class C, Part PART, bool PLAIN, class T>
void forward_rows(const PointForward<T>& q) {
  constexpr int L = V<T>::lanes, N = TOGETHER;
  for (int m = 0, rows; m < q.rows; m += rows) {
    rows = m + N <= q.rows ? N : 1;
    for (int u = q.unit0; u < q.unit0 + q.units; u++) {
      const int valid = q.H - u * L < L ? q.H - u * L : L;
      if (N > 1 && rows == N && valid == L) {
        forward_unit<C, PART, PLAIN, N>(q, m, u, L);
        continue;
      }
      for (int i = m; i < m + rows; i++)
        if (valid == L)
          forward_unit<C, PART, PLAIN, 1>(q, i, u, L);
        else
          forward_unit<C, PART, PLAIN, 1>(q, i, u, valid);
    }
  }
}

template <class C, Part PART, class T>
void forward_tile(const PointForward<T>& q) {
  if (q.zone || q.gates || q.drop || q.resets)
    forward_rows<C, PART, false>(q);
  else
    forward_rows<C, PART, true>(q);
}

template <class C, Part PART, class T>
void backward_tile(const PointBackward<T>& q) {
  constexpr int L = V<T>::lanes;
  for (int m = 0; m < q.rows; m++)
    for (int u = q.unit0; u < q.unit0 + q.units; u++) {
      const int valid = q.H - u * L < L ? q.H - u * L : L;
      if (valid == L)
        backward_unit<C, PART>(q, m, u, L);
      else
        backward_unit<C, PART>(q, m, u, valid);
    }
}

struct NoNorm {};  // the second description of a cell without a state c

template <class C, class N, class T>
CellTable<T> cell_table() {
  CellTable<T> t = {};
  t.name = C::name, t.G = C::G, t.S = C::S, t.P = C::P, t.K = C::K, t.C = C::C;
  t.keeps_h = C::uses_s & 1;
  t.shared = C::shared, t.reads_h = C::reads_h, t.recurrent = C::recurrent;
  for (int i = 0; i < C::S; i++) t.initial[i] = C::initial(i);
  t.forward = forward_tile<C, WHOLE, T>;
  t.backward = backward_tile<C, WHOLE, T>;
  if constexpr (!__is_same(N, NoNorm)) {
    t.norm_K = N::K, t.keeps_h = t.keeps_h || (N::uses_s & 1);
    t.forward_c = forward_tile<N, HALF_C, T>;
    t.forward_h = forward_tile<N, HALF_H, T>;
    t.backward_h = backward_tile<N, HALF_H, T>;
    t.backward_c = backward_tile<N, HALF_C, T>;
  }
  return t;
}

template <class C, class N>
struct Entry {
  static const longspan::CellEntry* get() {
    static const CellTable<float> f32 = cell_table<C, N, float>();
    static const CellTable<double> f64 = cell_table<C, N, double>();
    static const longspan::CellEntry e = {longspan::ABI, &f32, &f64};
    return &e;
  }
};

}  // namespace
}  // namespace LS_ISA
