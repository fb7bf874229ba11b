// The forward pass: all steps of one direction of a layer, from the first to the last.
#pragma once
#include "inputs.h"
#include "products.h"
#include "work_share.h"

namespace LS_ISA {
namespace {

// Above these sizes in bytes, numbers are written with non-temporal stores: ordinary ones would push out of the caches what
// is still needed, and would themselves be evicted before backward (saved numbers) or the caller (gates) reads them.
constexpr int64_t SAVED_IN_CACHE = 8 << 20, GATES_IN_CACHE = 2 << 20;

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
  T* a[2];         // (B, a_row): what R multiplies at this and at the next step, h * drop, with x before it where x_inside
  int a_row, a_h;  // h's first column
  T* swap[2];      // (B, states_row): states, where none are saved
  char* privates;
  size_t private_size;
  int64_t chunk_rows;
  bool gates_non_temporal, hats_non_temporal;  // stored past the caches: too many for them, and rows of whole registers

  explicit ForwardRun(const Call<T>& call)
      : c(with_threads(call)), plan(*call.plan), z(call), zone(zones.get(call, z)), barrier{c.threads} {
    auto exceeds = [](const T* p, int64_t n, int64_t bytes) {
      return n * (int64_t)sizeof(T) > bytes && reinterpret_cast<uintptr_t>(p) % LS_BYTES == 0;
    };
    gates_non_temporal = z.H % L == 0 && exceeds(c.gates, (z.G + z.S - 1) * c.gate_rows * z.H, GATES_IN_CACHE);
    hats_non_temporal = z.norm && exceeds(c.saved, z.total * z.saved_per_row, SAVED_IN_CACHE);
  }

  // One thread's scratch memory.
  struct Private {
    T *x, *gates, *tile, *r, *nc, *y;
    int64_t* row;
    const T** s;
    uint8_t* resets;
    int8_t* rounded;  // rows of int8 activations and their scales
    float* scale;
    Private(Arena& m, const ForwardRun& f) {
      const Shape<T>& z = f.z;
      const int64_t B = f.plan.B;
      x = z.x_inside ? nullptr : m.take<T>(f.chunk_rows * z.I);
      gates = z.x_inside ? nullptr : m.take<T>(f.chunk_rows * z.NL);
      tile = m.take<T>(BLOCK_ROWS * most(z.panel_units * z.G, GROUP) * L);
      r = z.fused ? nullptr : m.take<T>(B * most(z.NL, z.Rp));
      nc = z.norm_c ? m.take<T>(B * z.Hp) : nullptr;
      // what a step's first half saves for its second
      y = z.norm_c && !f.c.saved ? m.take<T>(B * z.Ky * z.Hp) : nullptr;
      row = m.take<int64_t>(B), s = m.take<const T*>(B), resets = m.take<uint8_t>(B);
      const bool int8 = f.c.w_scale;
      rounded = int8 ? m.take<int8_t>(most(f.chunk_rows * int8_padded(z.I), B * int8_padded(z.R))) : nullptr;
      scale = int8 ? m.take<float>(most(f.chunk_rows, B)) : nullptr;
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
    if (gates_non_temporal || hats_non_temporal) store_fence();
  }

  bool resets_at(int64_t t, int64_t j) const {
    if (!plan.reset || t >= plan.steps || j >= active(plan, t)) return false;
    return plan.reset[plan.offset[t] + j];
  }

  // The states of sorted row j before step t.
  const T* before(int64_t t, int64_t j) const {
    if (resets_at(t, j)) return in.initial;
    if (t == 0) return in.state + j * z.S * z.Hp;
    return states(t - 1, j);
  }
  T* states(int64_t t, int64_t j) const {
    if (c.saved) return c.saved + z.states + (plan.offset[t] + j) * z.states_row;
    return swap[t & 1] + j * z.states_row;
  }

  // Before the first step: what R multiplies first, and the final states of rows without any step.
  void begin(const Share& sh) {
    for (int64_t j = sh.first; j < plan.B; j += sh.step) {
      if (c.r && !(sh.by_units && sh.tid)) { in.put_h(previous_h(0, j), j, z, a[0] + j * a_row + a_h); }
      const T* first = in.state + j * z.S * z.Hp;
      if (plan.count[j] == 0 && !(sh.by_units && sh.tid)) put_last(j, first, in.h_of(first, z), 0, z.U);
    }
  }

  // Copies step t's x before the h that it is multiplied with.
  void put_inputs(const Share& sh, int64_t t) {
    if (!z.x_inside) return;
    const int64_t first = sh.by_units ? sh.tid : sh.first, step = sh.by_units ? sh.threads : sh.step;
    for (int64_t j = first; j < active(plan, t); j += step)
      std::memcpy(a[t & 1] + j * a_row, c.x + plan.row[plan.offset[t] + j] * z.I, z.I * sizeof(T));
  }

  // Writes the final states of sorted row j from a row of states and a row of h.
  void put_last(int64_t j, const T* from, const T* h, int unit0, int unit1) {
    const bool reset = plan.last && plan.last[j];
    if (reset) from = in.initial, h = in.h_of(in.initial, z);
    for (int i = 0; i < z.S; i++) {
      const int W = i == 0 ? z.R : z.H;
      const T* values = i == 0 ? h : from + slot(i, z.S) * z.Hp;
      for (int l = unit0 * L; l < least(W, unit1 * L); l++) c.last[i][plan.order[j] * W + l] = values[l];
    }
  }

  // Writes the final states of the rows whose last step is t.
  void finish(const Share& sh, int64_t t) {
    for (int64_t m = sh.rows(active(plan, t + 1)), end = sh.rows(active(plan, t)); m < end; m++) {
      const int64_t j = sh.first + m * sh.step;
      put_last(j, states(t, j), c.out + plan.row[plan.offset[t] + j] * c.out_step, sh.unit0, sh.unit1);
    }
  }

  // W x + b for the rows of steps t0 .. t1 - 1, normalised under layer normalisation.
  void input_gates(const Share& sh, Private& my, int64_t t0, int64_t t1, int rows) {
    T* x = my.x;
    for (int64_t t = t0; t < t1; t++)
      for (int64_t p = plan.offset[t] + sh.first; p < plan.offset[t + 1]; p += sh.step, x += z.I)
        std::memcpy(x, c.x + plan.row[p] * z.I, z.I * sizeof(T));
    if (c.w_scale) return int8_input_gates(sh, my, rows);
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

  // The same by int8 weights.
  void int8_input_gates(const Share& sh, Private& my, int rows) {
    const int64_t padded = int8_padded(z.I);
    if constexpr (sizeof(T) == sizeof(float)) {
      for (int m = 0; m < rows; m++) my.scale[m] = int8_round(my.x + (int64_t)m * z.I, z.I, my.rounded + m * padded);
      const int v0 = sh.unit0 * z.G, n = (sh.unit1 - sh.unit0) * z.G;
      const Int8Packed w = {int8_w(c), in.w};
      w.product(my.rounded, padded, my.scale, rows, v0, n, in.bias_x + v0 * L, my.gates + v0 * L, z.NL);
    }
  }

  // Normalises step t's gates (R, NL) in place; the backward pass's hats and rstds are saved at those offsets.
  void normalise(const Share& sh, int64_t t, int R, T* gates, const T* scale, const T* bias, int64_t hats, int64_t rstds) {
    const LayerNorm<T> norm = {z.N, z.G * z.H, in.mask, scale, bias, hats_non_temporal};
    norm.forward(R, [&](int m) {
      const int64_t p = plan.offset[t] + sh.first + (int64_t)m * sh.step;
      T* const row = gates + (int64_t)m * z.NL;
      return NormRow<T>{row, c.saved ? c.saved + hats + p * z.NL : nullptr, row, c.saved ? c.saved + rstds + p : nullptr};
    });
  }

  // Where step t's rows read and write.
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
    q.gates = c.gates, q.gates_step = c.gate_rows * z.H, q.gates_non_temporal = gates_non_temporal;
    q.zone = zone;
    return q;
  }

  // The same for `rows` rows from row m on.
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

  // A block of rows times a panel of units, then its pointwise part while the product is in the nearest cache.
  void step(const Share& sh, Private& my, int64_t t, int R, const T* gates) {
    PointForward<T> q = point(sh, my, t, gates);
    if (!c.r) {
      q.rows = R, q.unit0 = sh.unit0, q.units = sh.unit1 - sh.unit0;
      return c.cell->forward(q);
    }
    q.r.step = z.panel_units * z.G * L;
    if (c.w_scale) round_h(sh, my, t, R);
    for (int m0 = 0; m0 < R; m0 += BLOCK_ROWS) {
      const int rows = least(BLOCK_ROWS, R - m0);
      PointForward<T> some = from(q, m0, rows);
      some.r.p = my.tile;
      const int panels = int(ceil_div(sh.unit1 - sh.unit0, z.panel_units));
      for (int i = 0; i < panels; i++) {
        // alternate directions: the panels read last are still in the nearest cache
        const int u = sh.unit0 + (t & 1 ? panels - 1 - i : i) * z.panel_units;
        const int units = least(z.panel_units, sh.unit1 - u);
        recurrent_block(sh, my, t, m0, rows, u * z.G, units * z.G, q.r.step);
        some.r_unit0 = u, some.unit0 = u, some.units = units;
        c.cell->forward(some);
      }
    }
  }

  // R h for rows m0 .. m0 + rows - 1 and n vectors from v0 on, into the thread's tile.
  void recurrent_block(const Share& sh, Private& my, int64_t t, int m0, int rows, int v0, int n, ptrdiff_t tile_row) const {
    const T* start = c.cell->shared ? nullptr : in.bias_r;
    if constexpr (sizeof(T) == sizeof(float)) {
      if (c.w_scale) {
        const int64_t padded = int8_padded(z.R);
        const Int8Packed r = {int8_r(c), in.r};
        return r.product(my.rounded + m0 * padded, padded, my.scale + m0, rows, v0, n, start ? start + v0 * L : nullptr,
                         my.tile, tile_row);
      }
    }
    block(multiplicand(sh, t, m0), rows, in.r, z.N, v0, n, start, my.tile, tile_row);
  }

  // Rounds what int8 weights multiply at step t.
  void round_h(const Share& sh, Private& my, int64_t t, int R) const {
    if constexpr (sizeof(T) == sizeof(float))
      for (int m = 0; m < R; m++) my.scale[m] = int8_round(multiplicand(sh, t, m).a, z.R, my.rounded + m * int8_padded(z.R));
  }

  // A step where layer normalisation or a projection needs whole rows of the product.
  void long_step(const Share& sh, Private& my, int64_t t, int R, const T* gates) {
    PointForward<T> q = point(sh, my, t, gates);
    q.rows = R, q.unit0 = 0, q.units = z.U, q.r = {my.r, z.NL}, q.r_unit0 = 0;
    if (c.r) recurrent_gates(sh, my, t, R);
    if (!z.norm_c) {
      c.cell->forward(q);
    } else {
      c.cell->forward_c(q);
      const LayerNorm<T> norm = in.cell_norm(z);
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

  // The projected h, blended by zoneout, into the output and into what the next step multiplies.
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
      in.put_h(reset ? in.h_of(in.initial, z) : h, j, z, next);
    }
  }

  const T* previous_h(int64_t t, int64_t j) const {
    if (resets_at(t, j)) return in.h_of(in.initial, z);
    if (t == 0) return in.h_of(in.state + j * z.S * z.Hp, z);
    return c.out + plan.row[plan.offset[t - 1] + j] * c.out_step;
  }

  // The output of a masked step is the state that the row carries through it.
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

}  // namespace
}  // namespace LS_ISA
