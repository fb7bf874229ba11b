// The gradients of the weights and of x: products over runs of steps, added up until the first step is reached.
#pragma once
#include "inputs.h"
#include "products.h"

namespace LS_ISA {
namespace {

// What the steps t0 .. t1 - 1 leave for the sums. The gates' gradients lie in blocks (U, rows, G, L), ready to be
// multiplied: by R for the step before, by W for dx, and by the inputs for the gradients of the weights.
template <class T>
struct Chunk {
  T *dx, *dr;        // (U, rows, G, L)
  T* inputs;         // features h, 1, zeros, x, 1, TILE of them side by side: (tiles, rows, TILE)
  T* dp;             // (U, rows, P, L)
  T *raw_x, *raw_r;  // (rows, NL), before normalisation
  T *c_hat, *dnc;    // (rows, Hp)
  T* dh;             // (rows, Rp): gradient of a projected h
  int64_t t0 = 0, t1 = 0;
};

// The sums, transposed as Sums, until write() puts them in torch's layout.
template <class T>
struct WeightGradients {
  static constexpr int L = V<T>::lanes;
  const Call<T>& c;
  const Plan& plan;
  const Shape<T>& z;
  const Inputs<T>& in;
  bool two;                // the gradients of W x and of R h differ
  int x_column, features;  // the first feature of x, which begins a tile; all features, whole tiles
  int64_t chunk_rows;
  ptrdiff_t input_tile;                // from one tile of features to the next
  Sums<T> sum_x, sum_r, sum_proj;      // of features and NL, of R + 1 features and NL, of H features and Rp
  T* sum_p;                            // (P, Hp)
  T *sum_norm_x, *sum_norm_r, *sum_c;  // scales, then biases: (2, NL), (2, Hp)

  WeightGradients(const Call<T>& call, const Shape<T>& shape, const Inputs<T>& inputs)
      : c(call), plan(*call.plan), z(shape), in(inputs) {
    two = c.r && (!c.cell->shared || z.norm);
    x_column = c.r ? int(ceil_div(z.R + 1, TILE)) * TILE : 0;
    features = int(ceil_div(x_column + z.I + 1, TILE)) * TILE;
    // enough rows to make up for loading and storing the sums, few enough for the first two levels of cache
    const int64_t fit = (2 << 20) / (z.NL * (z.norm ? 8 : 1) * (int64_t)sizeof(T));
    // with one gate the inputs take most of a chunk's memory, with two gradients a gate it needs twice as much
    const int64_t enough = z.G == 1 || two ? 128 : 256;
    chunk_rows = most(plan.B, least(plan.total, least(enough, most<int64_t>(96, fit))));
    // an odd number of cache lines: with a power of two all tiles of a row would compete for the same lines of the cache
    const int line = 64 / (int)sizeof(T);
    input_tile = (ceil_div(chunk_rows * TILE, line) | 1) * line;
  }

  void lay_out_gates(Arena& m, Chunk<T>& k) const {
    k.dx = m.take<T>(chunk_rows * z.NL), k.dr = two ? m.take<T>(chunk_rows * z.NL) : k.dx;
  }
  void lay_out(Arena& m, Chunk<T>& k) const {
    lay_out_gates(m, k);
    k.inputs = m.take<T>(features / TILE * input_tile);
    k.dp = z.P ? m.take<T>(chunk_rows * z.P * z.Hp) : nullptr;
    k.raw_x = z.norm ? m.take<T>(chunk_rows * z.NL) : nullptr;
    k.raw_r = !z.norm || !two ? nullptr : c.cell->shared ? k.raw_x : m.take<T>(chunk_rows * z.NL);
    k.c_hat = z.norm_c ? m.take<T>(chunk_rows * z.Hp) : nullptr;
    k.dnc = z.norm_c ? m.take<T>(chunk_rows * z.Hp) : nullptr;
    k.dh = z.proj ? m.take<T>(chunk_rows * z.Rp) : nullptr;
  }

  void lay_out(Arena& m) {
    auto take = [&](int F, int numbers) { return Sums<T>{m.take<T>(Sums<T>::size(F, numbers / L)), F}; };
    sum_x = take(z.I + 1 + (two ? 0 : x_column), z.NL), sum_r = two ? take(z.R + 1, z.NL) : Sums<T>{};
    sum_proj = z.proj ? take(z.H, z.Rp) : Sums<T>{}, sum_p = z.P ? m.take<T>(z.P * z.Hp) : nullptr;
    // with layer normalisation the biases are added after it, and their gradients stand beside the scales'
    sum_norm_x = z.norm ? m.take<T>(2 * z.NL) : nullptr, sum_norm_r = z.norm && two ? m.take<T>(2 * z.NL) : nullptr;
    sum_c = z.norm_c ? m.take<T>(2 * z.Hp) : nullptr;
  }

  void clear(int tid) {
    auto zero = [&](T* p, int64_t n) {
      if (p)
        for (int64_t i = n * tid / c.threads; i < n * (tid + 1) / c.threads; i++) p[i] = 0;
    };
    zero(sum_x.p, Sums<T>::size(sum_x.F, z.N)), zero(sum_r.p, Sums<T>::size(sum_r.F, z.N));
    zero(sum_proj.p, Sums<T>::size(sum_proj.F, z.Rp / L)), zero(sum_p, z.P * z.Hp);
    zero(sum_norm_x, 2 * z.NL), zero(sum_norm_r, 2 * z.NL), zero(sum_c, 2 * z.Hp);
  }

  // Adds this thread's part of a chunk to the sums, and writes its part of dx.
  void add(int tid, const Chunk<T>& k) {
    const int K = int(plan.offset[k.t1] - plan.offset[k.t0]), n = c.threads;
    const int64_t block = chunk_rows * z.G * L;
    const Features<T> inputs = {k.inputs, input_tile, TILE};
    accumulate(K, inputs.from(two ? x_column : 0), k.dx, z.N, z.G, block, sum_x, tid, n);
    if (two) accumulate(K, inputs, k.dr, z.N, z.G, block, sum_r, tid, n);
    if (z.proj) add_up_projection(tid, k, K);
    if (z.P)
      add_columns(tid, z.U, [&](int u) {
        for (int i = 0; i < z.P; i++) {
          V<T> sum = V<T>::load(sum_p + i * z.Hp + u * L);
          for (int q = 0; q < K; q++) sum += V<T>::load(k.dp + ((u * chunk_rows + q) * z.P + i) * L);
          sum.store(sum_p + i * z.Hp + u * L);
        }
      });
    if (z.norm) add_up_norms(tid, k, K);
    if (c.dx) input_gradient(tid, k, K);
  }

  template <class F>
  void add_columns(int tid, int vectors, F column) {
    for (int v = int((int64_t)vectors * tid / c.threads); v < int((int64_t)vectors * (tid + 1) / c.threads); v++) column(v);
  }

  // The projection's gradient (transposed: H by R) from the h before projection, which lies with the saved states.
  void add_up_projection(int tid, const Chunk<T>& k, int K) {
    const Features<T> h = {in.h_of(c.saved + z.states + plan.offset[k.t0] * z.states_row, z), TILE, (ptrdiff_t)z.states_row};
    accumulate(K, h, k.dh, z.Rp / L, z.Rp / L, 0, sum_proj, tid, c.threads);
  }

  // The gradients of the scales and of the bias of HATS normalisations that share dy: sums of dy * hat and of dy over K rows,
  // for WIDTH vectors.
  template <int HATS, int WIDTH>
  static void add_up_columns(int K, const T* dy, const T* const* hats, ptrdiff_t row, T* const* scales, T* bias) {
    V<T> sum[HATS + 1][WIDTH];
    for (int i = 0; i < WIDTH; i++) {
      for (int h = 0; h < HATS; h++) sum[h][i] = V<T>::load(scales[h] + i * L);
      sum[HATS][i] = V<T>::load(bias + i * L);
    }
    for (ptrdiff_t q = 0; q < K; q++)
      for (int i = 0; i < WIDTH; i++) {
        const V<T> g = V<T>::load(dy + q * row + i * L);
        for (int h = 0; h < HATS; h++) sum[h][i] += g * V<T>::load(hats[h] + q * row + i * L);
        sum[HATS][i] += g;
      }
    for (int i = 0; i < WIDTH; i++) {
      for (int h = 0; h < HATS; h++) sum[h][i].store(scales[h] + i * L);
      sum[HATS][i].store(bias + i * L);
    }
  }
  template <int HATS>
  void add_up_norm(int tid, int K, const T* dy, const T* const* hats, int vectors, T* const* scales, T* bias) {
    const ptrdiff_t row = (ptrdiff_t)vectors * L;
    const int v1 = int((int64_t)vectors * (tid + 1) / c.threads);
    for (int v = int((int64_t)vectors * tid / c.threads), width; v < v1; v += width) {
      width = v1 - v < 4 ? 1 : 4;
      const T* hats_v[HATS];
      T* scales_v[HATS];
      for (int h = 0; h < HATS; h++) hats_v[h] = hats[h] + v * L, scales_v[h] = scales[h] + v * L;
      (width == 4 ? add_up_columns<HATS, 4> : add_up_columns<HATS, 1>)(K, dy + v * L, hats_v, row, scales_v, bias + v * L);
    }
  }

  void add_up_norms(int tid, const Chunk<T>& k, int K) {
    const int64_t p = plan.offset[k.t0];
    const T* const hats[] = {c.saved + z.x_hat + p * z.NL, c.saved + z.r_hat + p * z.NL};
    T* const scales[] = {sum_norm_x, sum_norm_r};
    if (two && c.cell->shared) {
      add_up_norm<2>(tid, K, k.raw_x, hats, z.N, scales, sum_norm_x + z.NL);
    } else {
      add_up_norm<1>(tid, K, k.raw_x, hats, z.N, scales, sum_norm_x + z.NL);
      if (two) add_up_norm<1>(tid, K, k.raw_r, hats + 1, z.N, scales + 1, sum_norm_r + z.NL);
    }
    if (z.norm_c) add_up_norm<1>(tid, K, k.dnc, &k.c_hat, z.U, &sum_c, sum_c + z.Hp);
  }

  // dx = dgates W for this thread's rows of the chunk.
  void input_gradient(int tid, const Chunk<T>& k, int K) {
    const int vectors = int(ceil_div(z.I, L));
    const int q0 = int((int64_t)K * tid / c.threads), q1 = int((int64_t)K * (tid + 1) / c.threads);
    // Narrow groups would read all rows' gradients once for every group: then a block of rows stays in the second level of cache.
    const int block = REGISTERS >= 32 ? q1 - q0 : most(TILE, (256 << 10) / (z.NL * (int)sizeof(T)) / TILE * TILE);
    for (int q = q0; q < q1; q += block) input_gradient(k, vectors, q, least(q + block, q1));
  }

  void input_gradient(const Chunk<T>& k, int vectors, int q0, int q1) {
    const int GL = z.G * L;
    T tile[TILE * GROUP * L] __attribute__((aligned(64)));
    for (int v = 0; v < vectors; v += GROUP)
      for (int q = q0, h; q < q1; q += h) {
        h = tile_height(q1 - q0, q - q0);
        const int n = least(GROUP, vectors - v);
        columns(Rows<T>{k.dx + (int64_t)q * GL, GL, GL, (ptrdiff_t)chunk_rows * GL, z.U}, h, in.w, vectors, v, n,
                (const T*)nullptr, tile, GROUP * L);
        for (int m = 0; m < h; m++) {
          T* to = c.dx + plan.row[plan.offset[k.t0] + q + m] * z.I + v * L;
          for (int i = 0; i < n; i++) {
            const int valid = least(L, z.I - (v + i) * L);
            V<T> g = V<T>::load(tile + (m * GROUP + i) * L);
            if (c.dx_add) g = g + V<T>::load(to + i * L, valid);
            g.store(to + i * L, valid);
          }
        }
      }
  }

  // Writes the sums in torch's layout, each thread some rows of the matrices.
  void write(int tid) {
    const int x_at = two ? 0 : x_column;
    const Sums<T>& with_h = two ? sum_r : sum_x;
    write_matrix(tid, sum_x, x_at, z.I, c.dw);
    if (c.r) write_matrix(tid, with_h, 0, z.R, c.dr);
    if (tid) return;
    if (z.norm) {
      const T *bx = sum_norm_x + z.NL, *br = !two ? nullptr : c.cell->shared ? bx : sum_norm_r + z.NL;
      write_vector(row_of(sum_norm_x), c.dnorm_x), write_vector(row_of(two ? sum_norm_r : nullptr), c.dnorm_r);
      write_vector(row_of(bx), c.dbx), write_vector(row_of(br), c.dbr);
    } else {
      write_vector([&](int v) { return sum_x.at(x_at + z.I, v); }, c.dbx);
      write_vector([&](int v) { return c.r ? with_h.at(z.R, v) : nullptr; }, c.dbr);
    }
    for (int i = 0; i < z.P && c.dp; i++)
      for (int l = 0; l < z.H; l++) c.dp[i * z.H + l] = sum_p[i * z.Hp + l];
    for (int l = 0; l < z.H && z.norm_c && c.dnorm_c; l++) c.dnorm_c[l] = sum_c[l], c.dnorm_c_bias[l] = sum_c[z.Hp + l];
    if (c.dproj)
      for (int r = 0; r < z.R; r++)
        for (int h = 0; h < z.H; h++) c.dproj[(int64_t)r * z.H + h] = sum_proj.at(h, r / L)[r % L];
  }

  // Features from .. from + K - 1 of the sums -> (G*H, K).
  void write_matrix(int tid, const Sums<T>& sums, int from, int K, T* to) {
    if (!to) return;
    for (int v = int((int64_t)z.N * tid / c.threads); v < int((int64_t)z.N * (tid + 1) / c.threads); v++) {
      const int u = v / z.G, g = v % z.G, valid = least(L, z.H - u * L);
      T* rows = to + ((int64_t)g * z.H + u * L) * K;
      for (int k = 0; k < K; k += L) {
        V<T> block[L];
        for (int i = 0; i < L; i++) block[i] = k + i < K ? V<T>::load(sums.at(from + k + i, v)) : V<T>(0.0);
        transpose(block);
        for (int l = 0; l < valid; l++) block[l].store(rows + (int64_t)l * K + k, K - k);
      }
    }
  }
  static auto row_of(const T* numbers) {
    return [numbers](int v) { return numbers ? numbers + v * L : nullptr; };
  }
  // at(v): vector v of a row of gates (NL), or null for zeros.
  template <class F>
  void write_vector(F at, T* to) {
    if (!to) return;
    for (int g = 0; g < z.G; g++)
      for (int l = 0; l < z.H; l++) {
        const T* const vector = at(l / L * z.G + g);
        to[g * z.H + l] = vector ? vector[l % L] : T(0);
      }
  }
};

}  // namespace
}  // namespace LS_ISA
