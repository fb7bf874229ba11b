// The sizes of a call, and the scratch memory that it works in.
#pragma once
#include "call.h"
#include "gemm.h"
#include "point.h"

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

// All the sizes of a call, and where its saved numbers lie.
template <class T>
struct Shape {
  static constexpr int L = V<T>::lanes;
  int G, S, P, K, Ky, H, U, Hp, I, R, Rp, N, NL;  // N: vectors of gates in a row; NL: numbers in them
  int panel_units, back_units;                    // units whose products are followed by their pointwise part at once: of
                                                  // the forward step, whole groups of gates; of the backward step
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
    const int wide = groups_at_once(int(least<int64_t>(c.plan->B, TILE))) * GROUP;  // the vectors that few rows take at once
    panel_units *= int(ceil_div(wide, panel_units * G)), back_units = wide;
    fused = !norm && !proj;
    // Reading W again at every step pays where a step has many rows. The number of threads must not decide: the sums'
    // order depends on this choice.
    x_inside = fused && cell.shared && c.r && c.plan->B >= 16 && !c.w_scale;
    has_h = cell.reads_h || proj || zoned || (c.saved && cell.keeps_h);
    states_row = (has_h ? S : S - 1) * Hp;
    total = c.plan->total;
    states = 0, values = states + total * states_row, x_hat = values + total * Ky * Hp;
    r_hat = x_hat + (norm ? total * NL : 0), x_rstd = r_hat + (norm ? total * NL : 0);
    r_rstd = x_rstd + (norm ? total : 0);
    saved_per_row = states_row + Ky * Hp + (norm ? 2 * NL + 2 : 0);
  }
};

// Memory for one call, cut in 64-byte aligned pieces. Without a base only the size is counted.
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

}  // namespace
}  // namespace LS_ISA
