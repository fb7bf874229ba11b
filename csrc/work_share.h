// How a call is shared among threads: by rows, or by units where there are few rows.
#pragma once
#include "shape.h"

namespace LS_ISA {
namespace {

// Floating-point operations below which another thread costs more than it saves.
constexpr double WORK_PER_THREAD = 400000;
// Those of a step's product with R below which threads that share its units wait for each other longer than they compute.
constexpr double SHARED_STEP = 16384;

// A thread's rows (sorted rows first, first + step, ...) and units.
struct Share {
  int tid, threads;
  bool by_units;
  int first, step;     // rows
  int unit0, unit1;    // units of H
  int group0, group1;  // groups of gate vectors that belong to them
  int rows(int64_t active) const { return active > first ? int(ceil_div(active - first, step)) : 0; }
};

// With few rows a thread, reading R costs more than multiplying by it: each thread then reads only its part of R.
template <class T>
bool share_units(const Call<T>& c, const Shape<T>& z) {
  const double step = 2.0 * double(c.plan->B) * z.G * z.H * z.R;
  return c.threads > 1 && z.fused && z.U >= GROUP * c.threads && c.plan->B < 2 * TILE * c.threads && step >= SHARED_STEP;
}

// The call with no more threads than its work keeps busy.
template <class T>
Call<T> with_threads(Call<T> c) {
  const Shape<T> z(c);
  const double work = 2.0 * double(z.total) * z.G * z.H * (z.I + z.R);
  c.threads = int(least<double>(c.threads, most(1.0, work / WORK_PER_THREAD)));
  if (!share_units(c, z)) c.threads = int(least<int64_t>(c.threads, most<int64_t>(1, c.plan->B)));
  return c;
}

template <class T>
Share share_of(const Call<T>& c, const Shape<T>& z, int tid) {
  Share s;
  s.tid = tid, s.threads = c.threads, s.by_units = share_units(c, z);
  s.first = s.by_units ? 0 : tid, s.step = s.by_units ? 1 : c.threads;
  // whole groups of units, so that their gates are whole groups of vectors too
  const int blocks = int(ceil_div(z.U, GROUP));
  const int b0 = s.by_units ? blocks * tid / c.threads : 0, b1 = s.by_units ? blocks * (tid + 1) / c.threads : blocks;
  s.unit0 = b0 * GROUP, s.unit1 = least(b1 * GROUP, z.U);
  s.group0 = s.unit0 * z.G / GROUP, s.group1 = int(ceil_div(s.unit1 * z.G, GROUP));
  return s;
}

}  // namespace
}  // namespace LS_ISA
