// The backward pass: all steps of one direction of a layer, from the last to the first.
#pragma once
#include "inputs.h"
#include "weight_gradients.h"
#include "work_share.h"

namespace LS_ISA {
namespace {

// Steps are taken in chunks. After each chunk all threads together add its gradients of the gates to the weights' sums.
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
  WeightGradients<T> sums;
  Chunk<T> chunks[2];

  T* d;           // (B, S, Hp): carried gradients of the states
  T* dh;          // (B, Rp): of a projected h
  const T* dout;  // c.dout; or, where masked steps show a carried h, a copy with their gradients moved to the step of that h
  int64_t dout_step;
  T *folded, *shown;  // that copy (B * T, R); the gradients of shown initial h (B, R)
  char* privates;
  size_t private_size;

  struct Private {
    T *tile, *acc, *norm, *rstd, *nc, *dc, *hc;
    T* inputs;  // a row of features
    int64_t* row;
    const T** s;
    uint8_t *resets, *fresh;
    Private(Arena& m, const BackwardRun& f) {
      const Shape<T>& z = f.z;
      const int64_t B = f.plan.B;
      tile = m.take<T>(BLOCK_ROWS * z.back_units * L);
      acc = f.c.r ? m.take<T>(B * z.Rp) : nullptr;
      norm = z.norm_c ? m.take<T>(2 * z.Hp) : nullptr;  // of two rows
      rstd = z.norm_c ? m.take<T>(B) : nullptr;
      nc = z.norm_c ? m.take<T>(B * z.Hp) : nullptr, dc = z.norm_c ? m.take<T>(B * z.Hp) : nullptr;
      hc = z.proj ? m.take<T>(B * z.Hp) : nullptr;
      inputs = m.take<T>(f.sums.features);
      row = m.take<int64_t>(B), s = m.take<const T*>(B), resets = m.take<uint8_t>(B), fresh = m.take<uint8_t>(B);
    }
  };

  explicit BackwardRun(const Call<T>& call)
      : c(with_threads(call)), plan(*call.plan), z(call), zone(zones.get(call, z)), barrier{c.threads}, sums(c, z, in) {}

  void lay_out(Arena& m) {
    in.lay_out(m, c, z, false);
    const int64_t B = plan.B, chunk_rows = sums.chunk_rows;
    sums.lay_out(m, chunks[0]);
    if (c.threads > 1)
      sums.lay_out(m, chunks[1]);  // one is filled while other threads may still be adding up the other
    else
      chunks[1] = chunks[0];
    // The first step's gates are read when the chunk before it begins with its last step. Sharing one buffer, that step
    // writes to other rows, since no chunk has a single step (see chunk_start) where a buffer holds three or more.
    if (c.threads == 1 && chunk_rows < least(3 * B, plan.total)) sums.lay_out_gates(m, chunks[1]);
    d = m.take<T>(B * z.S * z.Hp), dh = z.proj ? m.take<T>(B * z.Rp) : nullptr;
    sums.lay_out(m);
    const bool fold = plan.carried_n && c.dout;
    folded = fold ? m.take<T>(B * plan.T * z.R) : nullptr, shown = fold ? m.take<T>(B * z.R) : nullptr;
    Arena count;
    Private(count, *this);
    private_size = count.used;
    privates = m.take<char>(int64_t(private_size) * c.threads);
  }

  // A masked step shows the h of an earlier step, which gets its gradient.
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
    sums.clear(tid);
    begin(sh);
    barrier.wait();
    int turn = 0;
    for (int64_t t1 = plan.steps, t0; t1 > 0; t1 = t0, turn ^= 1) {
      t0 = chunk_start(t1);
      // every thread works out the same bounds, so none waits for another's
      Chunk<T> k = chunks[turn];
      const Chunk<T> later = later_chunk(turn, t1);
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
      gather(sh, my, k);
      barrier.wait();
      sums.add(tid, k);
    }
    first_state(sh, my, later_chunk(turn, 0));
    barrier.wait();
    sums.write(tid);
  }

  int64_t chunk_start(int64_t t1) const {
    int64_t t = t1 - 1;
    while (t > 0 && plan.offset[t1] - plan.offset[t - 1] <= sums.chunk_rows) t--;
    return t == 1 && t1 > 3 ? 2 : t;  // leaves no single step for the last chunk
  }
  // The chunk done just before, which begins at t: its first step's gradients are read once more.
  Chunk<T> later_chunk(int turn, int64_t t) const {
    Chunk<T> k = chunks[turn ^ 1];
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

  // The gates' gradients of step t + 1 in chunk k, from row m on, as rows that R multiplies.
  Rows<T> later_rows(const Share& sh, const Chunk<T>& k, int64_t t, int m) const {
    const int GL = z.G * L;
    const int64_t q = plan.offset[t + 1] - plan.offset[k.t0] + sh.first + (int64_t)m * sh.step;
    return {k.dr + q * GL, (ptrdiff_t)sh.step * GL, GL, (ptrdiff_t)sums.chunk_rows * GL, z.U};
  }

  PointBackward<T> point(const Share& sh, Private& my, const Chunk<T>& k, int64_t t) {
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
    q.dx = k.dx + at * GL, q.dx_unit = sums.chunk_rows * GL, q.dx_row = sh.step * GL;
    q.dr = sums.two ? k.dr + at * GL : nullptr, q.dr_unit = q.dx_unit, q.dr_row = q.dx_row;
    q.dp = z.P ? k.dp + at * PL : nullptr, q.dp_unit = sums.chunk_rows * PL, q.dp_row = sh.step * PL;
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

  // A block of rows times a panel of R, which is h's gradient from the step after; then the pointwise part.
  void step(const Share& sh, Private& my, const Chunk<T>& k, const Chunk<T>& later, int64_t t, int R) {
    PointBackward<T> q = point(sh, my, k, t);
    if (!c.r) {
      q.rows = R, q.unit0 = sh.unit0, q.units = sh.unit1 - sh.unit0;
      return c.cell->backward(q);
    }
    const int live = sh.rows(active(plan, t + 1));
    q.acc.step = z.back_units * L;
    for (int m0 = 0; m0 < R; m0 += BLOCK_ROWS) {
      PointBackward<T> block = from(q, m0, least(BLOCK_ROWS, R - m0));
      block.acc.p = my.tile, block.live = most(0, least(block.rows, live - m0));
      for (int u = sh.unit0; u < sh.unit1; u += z.back_units) {
        const int units = least(z.back_units, sh.unit1 - u);
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

  // Prefetches what the pointwise part will read of rows m .. m + h - 1, so that it arrives while their product is computed.
  // Always inlined: GCC drops the call of a function that does nothing but prefetch.
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

  void long_step(const Share& sh, Private& my, const Chunk<T>& k, const Chunk<T>& later, int64_t t, int R) {
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
      if (sums.two && !c.cell->shared) q.dr = k.raw_r + at * z.NL, q.dr_unit = z.G * L, q.dr_row = sh.step * z.NL;
    }
    if (z.norm_c)
      normalised_cell(sh, my, k, at, R, q);
    else
      c.cell->backward(q);
    if (z.norm) normalised_gates(sh, k, t, at, R);
  }

  // Backward through h = P hc: the gradient of hc replaces h's gradient from the step after.
  void project(const Share& sh, Private& my, const Chunk<T>& k, int64_t at, int R, PointBackward<T>& q) {
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

  void normalised_cell(const Share& sh, Private& my, const Chunk<T>& k, int64_t at, int R, PointBackward<T>& q) {
    const int C = c.cell->C;
    auto hat = [&](int m) { return k.c_hat + (at + (int64_t)m * sh.step) * z.Hp; };
    const LayerNorm<T> norm = in.cell_norm(z);
    norm.forward(R, [&](int m) {
      const T* raw = q.n[m] + slot(C, z.S) * z.Hp;
      if (q.zone) {  // the states hold c after zoneout; c before it lies with the saved values
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

  // From the gates' gradients to those of W x and of R h before their normalisation, in blocks (U, rows, G, L).
  void normalised_gates(const Share& sh, const Chunk<T>& k, int64_t t, int64_t at, int R) {
    const int GL = z.G * L;
    const bool shared = sums.two && c.cell->shared;
    for (int m = 0; m < R; m++) {
      const int64_t q = at + (int64_t)m * sh.step, p = plan.offset[t] + sh.first + (int64_t)m * sh.step;
      const T *x_hat = c.saved + z.x_hat + p * z.NL, *r_hat = c.saved + z.r_hat + p * z.NL;
      const ptrdiff_t next = sh.step * z.NL;
      const NormBackward<T> x = {x_hat, x_hat + next, in.norm_x, c.saved[z.x_rstd + p]};
      const NormBackward<T> r = {r_hat, r_hat + next, in.norm_r, c.saved[z.r_rstd + p]};
      T *const dx = k.dx + q * GL, *const dr = k.dr + q * GL;
      const ptrdiff_t block = sums.chunk_rows * GL;
      auto through = [&](const T* raw, const NormBackward<T>& normal, T* to) {
        normalise_backward(raw + q * z.NL, {normal}, z.N, in.mask, z.G * z.H, {to}, z.G, block);
      };
      if (shared) {
        normalise_backward(k.raw_x + q * z.NL, {x, r}, z.N, in.mask, z.G * z.H, {dx, dr}, z.G, block);
      } else {
        through(k.raw_x, x, dx);
        if (sums.two) through(k.raw_r, r, dr);
      }
    }
  }

  // Gathers what the weights multiplied in each row: h before the step times its dropout, 1, x, 1.
  void gather(const Share& sh, Private& my, const Chunk<T>& k) {
    T* const row = my.inputs;
    for (int f = 0; f < sums.features; f++) row[f] = 0;
    if (c.r) row[z.R] = 1;
    row[sums.x_column + z.I] = 1;
    for (int64_t t = k.t0; t < k.t1; t++)
      for (int64_t j = sh.by_units ? sh.tid : sh.first; j < active(plan, t); j += sh.by_units ? sh.threads : sh.step) {
        const int64_t p = plan.offset[t] + j;
        if (c.r) in.put_h(h_before(t, j), j, z, row);
        std::memcpy(row + sums.x_column, c.x + plan.row[p] * z.I, z.I * sizeof(T));
        T* to = k.inputs + (p - plan.offset[k.t0]) * TILE;
        for (int f = 0; f < sums.features; f += TILE, to += sums.input_tile) std::memcpy(to, row + f, TILE * sizeof(T));
      }
  }

  // The gradients of the initial states, from the first step.
  void first_state(const Share& sh, Private& my, const Chunk<T>& k) {
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
};

}  // namespace
}  // namespace LS_ISA
