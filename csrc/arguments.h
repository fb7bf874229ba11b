// In which order a call's tensors come, as kernels/driver.py lists them.
#pragma once
#include <type_traits>
#include <vector>

#include "call.h"

namespace longspan {

template <class T>
const CellTable<T>* table_of(uintptr_t entry);
template <>
inline const CellTable<float>* table_of(uintptr_t entry) {
  return reinterpret_cast<const CellEntry*>(entry)->f32;
}
template <>
inline const CellTable<double>* table_of(uintptr_t entry) {
  return reinterpret_cast<const CellEntry*>(entry)->f64;
}

struct Sizes {
  int64_t I, H, R, rows;  // rows: T * B
  int threads, directions;
};

// Direction d of a call over tensors that come in the order in which kernels/driver.py lists them.
template <class T, class Tensors>
Call<T> make_call(uintptr_t entry, const Plan& plan, const Sizes& n, Tensors& next, int d, const std::vector<double>& rates,
                  ZoneRate* zone) {
  Call<T> c = {};
  const int D = n.directions, weights = 12;
  c.cell = table_of<T>(entry), c.plan = &plan;
  c.I = n.I, c.H = n.H, c.R = n.R, c.out_step = D * n.R, c.gate_rows = n.rows, c.threads = n.threads, c.dx_add = d > 0;
  const int S = c.cell->S;
  next(c.x), next(c.out), next(c.drop, d, D), next(c.gates, d, D), next(c.saved, d, D);
  next(c.state, S, d, D), next(c.last, S, d, D);
  for (int i = 0; i < S; i++) {
    next(zone[i].mask, d, D);
    if (rates.empty()) continue;
    zone[i].on = rates.at(size_t(i)) >= 0, zone[i].rate = rates[size_t(i)], zone[i].width = int(i == 0 ? c.R : c.H);
  }
  c.zone = rates.empty() ? nullptr : zone;
  next.pass(d * weights);
  next(c.w), next(c.r), next(c.bx), next(c.br), next(c.p), next(c.proj);
  next(c.norm_x), next(c.norm_r), next(c.norm_c), next(c.norm_c_bias), next(c.w_scale), next(c.r_scale);
  next.pass((D - 1 - d) * weights);
  if (c.out) c.out += d * n.R;
  if (!next.more()) return c;
  next(c.dout), next(c.dx), next(c.dlast, S, d, D), next(c.dstate, S, d, D);
  next.pass(d * weights);
  next(c.dw), next(c.dr), next(c.dbx), next(c.dbr), next(c.dp), next(c.dproj);
  next(c.dnorm_x), next(c.dnorm_r), next(c.dnorm_c), next(c.dnorm_c_bias);
  if (c.dout) c.dout += d * n.R;
  return c;
}

// How many numbers a training call saves for its backward pass, for each packed row.
inline int64_t saved_per_row(const Driver& driver, bool f64, uintptr_t entry, int64_t I, int64_t H, int64_t R, bool norm,
                             bool proj, bool zoned) {
  static const ZoneRate some_zone[MAX_STATES];
  static const Plan no_plan = {};
  auto sized = [&](auto c) {
    typedef typename std::decay<decltype(*c.x)>::type T;
    static T present = 0;
    c.cell = table_of<T>(entry), c.plan = &no_plan, c.I = I, c.H = H, c.R = R, c.saved = &present;
    if (norm) c.norm_x = &present;
    if (proj) c.proj = &present;
    if (zoned) c.zone = some_zone;
    return c;
  };
  return f64 ? driver.saved64(sized(Call<double>{})) : driver.saved32(sized(Call<float>{}));
}

}  // namespace longspan
