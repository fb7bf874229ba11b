// The inputs of a call as the time loop reads them: packed weights, padded copies of the small tensors.
#pragma once
#include "int8.h"
#include "layer_norm.h"
#include "packing.h"

namespace LS_ISA {
namespace {

// How many rows take step t.
LS_INLINE int64_t active(const Plan& p, int64_t t) { return t < p.steps ? p.offset[t + 1] - p.offset[t] : 0; }

// Packed weights and padded copies of a call's small tensors.
template <class T>
struct Inputs {
  T *w, *r, *proj;  // packed
  T *bias_x, *bias_r, *p, *drop, *state, *initial;
  T *norm_x, *norm_r, *norm_c, *norm_c_bias;
  T *mask, *mask_h;  // 1 on the numbers of a row of gates or of H, 0 on its padding; null where a row has no padding

  void lay_out(Arena& m, const Call<T>& c, const Shape<T>& z, bool forward) {
    const int64_t B = c.plan->B;
    const int64_t r_vectors = z.Rp / z.L, i_vectors = ceil_div(z.I, z.L);
    const auto packs = [&](int64_t K) { return !c.w_scale || int8_packs(K, z.total); };
    const int per = c.w_scale ? 4 : 1;  // int8 numbers are packed in fours
    w = z.x_inside && forward ? nullptr
        : forward             ? packs(z.I) ? m.take<T>(packed_size(z.I / per, z.N, z.L)) : nullptr
        : c.dx                ? m.take<T>(packed_size(z.NL, i_vectors, z.L))
                              : nullptr;
    r = !c.r || !packs(z.R) ? nullptr
        : forward           ? m.take<T>(packed_size((z.R + (z.x_inside ? z.I : 0)) / per, z.N, z.L))
                            : m.take<T>(packed_size(z.NL, r_vectors, z.L));
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

  // Each thread packs its part of the matrices; thread 0 packs the small tensors too.
  void fill(const Call<T>& c, const Shape<T>& z, bool forward, int tid) {
    if (tid == 0) fill_small(c, z);
    auto share = [&](int64_t vectors, auto pack) {
      const int groups = int(ceil_div(vectors, GROUP));
      pack(groups * tid / c.threads, groups * (tid + 1) / c.threads);
    };
    if (forward) {
      const int per = c.w_scale ? 4 : 1, I = z.I / per, R = z.R / per, at = z.x_inside ? I : 0, all = at + R;
      T* x = z.x_inside ? r : w;
      if (x) share(z.N, [&](int a, int b) { pack_gates(x, c.w, I, 0, z.x_inside ? all : I, z.G, z.H, z.U, a, b); });
      if (r) share(z.N, [&](int a, int b) { pack_gates(r, c.r, R, at, all, z.G, z.H, z.U, a, b); });
      if (proj) share(z.Rp / z.L, [&](int a, int b) { pack_gates(proj, c.proj, z.H, 0, z.H, 1, z.R, z.Rp / z.L, a, b); });
    } else {
      if (w) share(ceil_div(z.I, z.L), [&](int a, int b) { pack_units(w, c.w, z.I, z.G, z.H, z.U, a, b); });
      if (r) share(z.Rp / z.L, [&](int a, int b) { pack_units(r, c.r, z.R, z.G, z.H, z.U, a, b); });
      if (proj) share(z.U, [&](int a, int b) { pack_units(proj, c.proj, z.H, 1, z.R, z.Rp / z.L, a, b); });
    }
  }

  void fill_small(const Call<T>& c, const Shape<T>& z) {
    const bool one_sum = c.cell->shared && !z.norm;  // the cell only reads x + r, so one bias holds both
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

  // The layer normalisation of the cell state c.
  LayerNorm<T> cell_norm(const Shape<T>& z) const { return {z.U, z.H, mask_h, norm_c, norm_c_bias, false}; }

  static const T* h_of(const T* row, const Shape<T>& z) { return row + slot(0, z.S) * z.Hp; }

  // h of sorted row j times its recurrent dropout, as R multiplies it.
  void put_h(const T* h, int64_t j, const Shape<T>& z, T* to) const {
    constexpr int L = V<T>::lanes;
    const T* const row = drop ? drop + j * z.Rp : nullptr;
    for (int l = 0; l < z.R; l += L) {
      const V<T> v = V<T>::load(h + l, z.R - l);
      (row ? v * V<T>::load(row + l) : v).store(to + l, z.R - l);
    }
  }
};

// The zoneout that the pointwise part applies: a projected h gets its own after the projection.
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

}  // namespace
}  // namespace LS_ISA
