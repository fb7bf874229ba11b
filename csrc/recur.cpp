// The time loop over any cell, forward and backward: compiled once for each instruction set (-DLS_ISA=... -DLS_BYTES=...).
//
// Threads share the work by rows, with no barrier inside a sequence, or, where there are few rows, by units, with one barrier
// a step. Every sum is taken in one fixed order, so the result depends neither on that nor on the number of threads.
#include <time.h>

#include "backward.h"
#include "forward.h"
#include "single_step.h"

namespace LS_ISA {
namespace {
#include "cells.inc"
}
}  // namespace LS_ISA

namespace LS_ISA {
namespace {

template <class T>
void forward(const Call<T>& c) {
  ForwardRun<T>(c).run();
}
template <class T>
void backward(const Call<T>& c) {
  BackwardRun<T>(c).run();
}
template <class T>
int64_t saved_per_row(const Call<T>& c) {
  return Shape<T>(c).saved_per_row;
}

// Chris Wellons' low-bias 32-bit mixer.
LS_INLINE uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x21f0aaadu;
  x = (x ^ (x >> 15)) * 0x735a2d97u;
  return x ^ (x >> 15);
}

// 1 with probability `rate`, else 0: number i depends on i and the seed alone.
void draw(uint8_t* to, int64_t n, double rate, uint64_t seed) {
  const double scaled = rate * 4294967296.0;
  const uint32_t below = scaled >= 4294967295.0 ? 4294967295u : uint32_t(scaled), high = uint32_t(seed >> 32);
  for (int64_t block = 0; block < n; block += 1 << 16) {
    const uint32_t low = mixed(uint32_t(seed) + uint32_t(block >> 16) * 0x9e3779b9u);
    const int many = int(least<int64_t>(n - block, 1 << 16));
    for (int i = 0; i < many; i++) to[block + i] = mixed(mixed(uint32_t(i) + low) ^ high) < below;
  }
}

double seconds_now() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// GFLOP/s of the tile over numbers in the nearest cache: the most that a product can reach on this core.
double peak(double seconds) {
  constexpr int L = V<float>::lanes, K = 512;
  float a[TILE * K] __attribute__((aligned(64))), b[K * GROUP * L] __attribute__((aligned(64))), out[TILE * GROUP * L];
  for (float& v : a) v = 1e-3f;
  for (float& v : b) v = 1e-3f;
  double best = 0;
  for (double end = seconds_now() + seconds; seconds_now() < end;) {
    const double t0 = seconds_now();
    for (int i = 0; i < 50; i++)
      columns(Rows<float>{a, K, K, 0, 1}, TILE, b, GROUP, 0, GROUP, (const float*)nullptr, out, GROUP * L);
    best = most(best, 50 * 2.0 * TILE * GROUP * L * K / (seconds_now() - t0) * 1e-9);
  }
  return best;
}

template <class C> struct NormOf {
  typedef NoNorm type;
};
#define LONGSPAN_NORM_OF(name, norm) \
  template <> struct NormOf<name> {  \
    typedef norm type;               \
  };
LONGSPAN_NORM_CELLS(LONGSPAN_NORM_OF)

const longspan::CellEntry* const* entries() {
#define LONGSPAN_ENTRY(name) Entry<name, NormOf<name>::type>::get(),
  static const longspan::CellEntry* const all[] = {LONGSPAN_CELLS(LONGSPAN_ENTRY)};
  return all;
}
#define LONGSPAN_ONE(name) +1
constexpr int CELL_COUNT = 0 LONGSPAN_CELLS(LONGSPAN_ONE);

}  // namespace

#define LONGSPAN_TEXT(a) LONGSPAN_TEXT2(a)
#define LONGSPAN_TEXT2(a) #a
const longspan::Driver* driver() {
  static const longspan::Driver d = {LONGSPAN_TEXT(LS_ISA),
                                     LS_FLAGS,
                                     CELL_COUNT,
                                     entries(),
                                     saved_per_row<float>,
                                     saved_per_row<double>,
                                     forward<float>,
                                     forward<double>,
                                     backward<float>,
                                     backward<double>,
                                     one_step<float>,
                                     one_step<double>,
                                     few_rows_linear<float>,
                                     few_rows_linear<double>,
                                     draw,
                                     peak};
  return &d;
}

}  // namespace LS_ISA
