// A linear layer and its cross entropy in one: the losses of rows x, and the gradients of their weighted sum, a chunk of rows
// at a time, so that the logits of all rows never lie in memory together. Compiled once for each instruction set.
//
//   logit(v, n) = bias[v] + sum over k of w[v, k] x[n, k]
//   loss[n] = log(sum over v of exp(logit(v, n))) - sum over v of q(v, n) logit(v, n)
//   q(v, n) = smoothing / V + (1 - smoothing) [v = target[n]]
//
// The logits of a chunk lie in panels (panels, V, PANEL): PANEL rows of x in the lanes of a few vectors. So w is read as it
// lies, the maximum and the sum over v are taken lane by lane, and a chunk costs three products: logits, dx and dw. What is
// kept of the softmax is exp(logit - maximum); the sum that it must be divided by goes into the small factors. The part of the
// gradients that smoothing makes is a product of two vectors. Threads share the vocabulary, and for dx the columns of w. Every
// sum is taken in one fixed order, so the answer does not depend on the number of threads.
#include "output.h"

#include <type_traits>
#include <vector>

#include "call.h"
#include "gemm.h"

namespace LS_ISA {
namespace {

using longspan::Barrier;
using longspan::OutputCall;

constexpr int PANEL_VECTORS = GROUP, TILE_ROWS = TILE;
constexpr int DX_VECTORS = REGISTERS >= 32 ? 4 : 3, DX_ROWS = REGISTERS >= 32 ? 6 : 4;
constexpr int BLOCK_ROWS = 120;                 // rows of w multiplied by one panel after the other: they stay in the cache
constexpr int DEPTH = 512;                      // columns of w multiplied at a time: a panel's stay in the nearest cache
constexpr int MIN_CHUNK = 64, MAX_CHUNK = 256;  // rows of x in a chunk
constexpr int64_t CHUNK_BYTES = 10 << 20;       // of a chunk's logits, where MIN_CHUNK rows have not more

template <class N> LS_INLINE N smaller(N a, N b) { return a < b ? a : b; }
template <class N> LS_INLINE N larger(N a, N b) { return a > b ? a : b; }
LS_INLINE int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
LS_INLINE int64_t multiple_up(int64_t a, int64_t b) { return quotient_up(a, b) * b; }

// The length of the first of the nearly equal parts of at most `most` that `left` things come in.
LS_INLINE int part(int64_t left, int most) { return int(quotient_up(left, quotient_up(left, most))); }

// x86's own maximum, an instruction: b where one of them is NaN, whose exponential brings it back.
template <class T> LS_INLINE V<T> greater(V<T> a, V<T> b) { return pick<T>(a.v > b.v, a, b); }

template <int M> using Int = std::integral_constant<int, M>;

// f(Int<m>, Int<n>) for 1 <= m <= M and 1 <= n <= N.
template <int M, int N, class F>
LS_INLINE void with_sizes(int m, int n, F f) {
  if constexpr (M > 1)
    if (m < M) return with_sizes<M - 1, N>(m, n, f);
  if constexpr (N > 1)
    if (n < N) return with_sizes<M, N - 1>(m, n, f);
  f(Int<M>{}, Int<N>{});
}

// Tiles of products: M rows, NV vectors of columns, one accumulator each.
template <class T>
struct Tiles {
  static constexpr int L = V<T>::lanes, PANEL = PANEL_VECTORS * L;

  // to (M, PANEL) = A x, to which the rows' biases are added, or, where `start` is null, what stands there.
  template <int M>
  static void logits(const Rows<T>& A, const T* x, const T* start, T* to) {
    V<T> acc[M][PANEL_VECTORS];
    for (int m = 0; m < M; m++)
      for (int v = 0; v < PANEL_VECTORS; v++) acc[m][v] = start ? V<T>::all(start[m]) : V<T>::load(to + m * PANEL + v * L);
    multiply<M, PANEL_VECTORS, T>(A, x, PANEL, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < PANEL_VECTORS; v++) acc[m][v].store(to + m * PANEL + v * L);
  }

  // to (M, NV vectors) = start + A b; the last vector has `valid` numbers.
  template <int M, int NV>
  static void sums(const Rows<T>& A, const T* b, const T* start, ptrdiff_t start_row, T* to, ptrdiff_t row, int valid) {
    V<T> acc[M][NV];
    for (int m = 0; m < M; m++) {
      for (int v = 0; v < NV; v++) acc[m][v] = V<T>(0.0);
      for (int v = 0; v < NV; v++) __builtin_prefetch(to + m * row + v * L, 1);  // far away, and needed at the end
    }
    multiply<M, NV, T>(A, b, NV * L, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) {
        const int n = v < NV - 1 ? L : valid;
        (V<T>::load(start + m * start_row + v * L, n) + acc[m][v]).store(to + m * row + v * L, n);
      }
  }

  // to (M, NV vectors) += over k < depth of a(k, m) b(k, v).
  template <int M, int NV>
  static void transposed(int depth, const T* a, const T* b, T* to, ptrdiff_t row) {
    V<T> acc[M][NV];
    const T* vectors[NV];
    for (int v = 0; v < NV; v++) vectors[v] = b + v * L;
    for (int m = 0; m < M; m++) {
      for (int v = 0; v < NV; v++) acc[m][v] = V<T>(0.0);
      for (int v = 0; v < NV; v++) __builtin_prefetch(to + m * row + v * L, 1);
    }
    multiply_transposed<M, NV, T>(depth, a, PANEL, vectors, NV * L, acc);
    for (int m = 0; m < M; m++)
      for (int v = 0; v < NV; v++) (V<T>::load(to + m * row + v * L) + acc[m][v]).store(to + m * row + v * L);
  }
};

// Memory for one call, cut in 64-byte aligned pieces: counted in a first pass, handed out in a second.
struct Pieces {
  char* base = nullptr;
  size_t used = 0;
  template <class N>
  void operator()(N*& p, int64_t n) {
    p = base ? reinterpret_cast<N*>(base + used) : nullptr;
    used += (size_t(n) * sizeof(N) + 127) / 64 * 64;
  }
};

// Memory that will be read soon, fetched a few lines at a time while something else is computed.
struct Fetch {
  const char *p, *end;
  int64_t step;
  template <class T>
  Fetch(const T* from, int64_t n)
      : p(reinterpret_cast<const char*>(from)), end(reinterpret_cast<const char*>(from + n)), step(end - p) {}
  // Parts at .. at + width - 1 of `parts`, to be fetched in so many turns.
  Fetch piece(int64_t at, int64_t parts, int64_t turns, int64_t width = 1) const {
    Fetch f = *this;
    f.p = p + step * at / parts, f.end = p + step * (at + width) / parts;
    f.step = multiple_up(quotient_up(f.end - f.p, turns), 64);
    return f;
  }
  LS_INLINE void turn() {
    for (const char* const last = smaller(p + step, end); p < last; p += 64) __builtin_prefetch(p, 0, 2);
  }
};

template <class T>
class OutputRun {
  static constexpr int L = Tiles<T>::L, PANEL = Tiles<T>::PANEL;

 public:
  explicit OutputRun(const OutputCall<T>& c) : c(c), K(int(c.K)), Kp(int(multiple_up(c.K, L))) {
    for (int64_t n = 0; n < c.N; n++) {
      if (c.target[n] != c.ignore) rows.push_back(n);
      if (c.target[n] != c.ignore && (c.target[n] < 0 || c.target[n] >= c.V) && bad < 0) bad = n;
    }
    const int64_t many = int64_t(rows.size()), fit = CHUNK_BYTES / larger<int64_t>(c.V * int64_t(sizeof(T)), 1);
    const int most = int(larger<int64_t>(MIN_CHUNK, smaller<int64_t>(MAX_CHUNK, fit)));
    blocks = int(quotient_up(c.V, BLOCK_ROWS));
    chunk = many ? int(multiple_up(part(many, most), PANEL)) : 0;
    const double work = 2.0 * double(many) * double(c.K) * double(c.V), worth = 400000;
    threads = int(larger(1.0, smaller(smaller<double>(c.threads, blocks), work / worth)));
    barrier.threads = threads;
  }

  int64_t run() {
    if (bad >= 0) return bad;
    clear();
    if (rows.empty()) return -1;
    Pieces pieces;
    place(pieces);
    void* const memory = longspan::borrow(pieces.used);
    pieces.base = static_cast<char*>(memory), pieces.used = 0;
    place(pieces);
    longspan::parallel(threads, [](void* self, int tid) { static_cast<OutputRun*>(self)->work(tid); }, this);
    longspan::give_back(memory);
    return -1;
  }

 private:
  const OutputCall<T>& c;
  const int K, Kp;
  std::vector<int64_t> rows;  // of x, those that are not ignored
  int64_t bad = -1;
  int blocks, chunk, threads;
  Barrier barrier = {1};
  T* packed;              // the chunk's rows of x, (panels, K, PANEL)
  T* logits;              // with gradients (panels, V, PANEL), later their exponentials; else (BLOCK_ROWS, PANEL) a thread
  T *tops, *sums;         // of each block and row: maximum, sum of exponentials
  T *hit, *top, *factor;  // of each row: the target's logit, the maximum, what its exponentials are to be multiplied by
  T* scaled;              // groups of PANEL_VECTORS vectors of x times factor, (groups, chunk, vectors)
  T *dx, *columns;        // (chunk, Kp); a block's columns of w, for each thread
  T *w_sum, *start;       // (Kp) sum of the rows of w; what dw begins with
  T bias_sum, start_bias;

  void place(Pieces& take) {
    const int64_t n = chunk;
    take(packed, n * K), take(logits, c.weight ? n * c.V : int64_t(threads) * BLOCK_ROWS * PANEL);
    take(tops, blocks * n), take(sums, blocks * n), take(hit, n), take(top, n), take(factor, n);
    take(w_sum, Kp), take(start, Kp);
    take(scaled, c.dw ? n * Kp : 0), take(dx, c.dx ? n * Kp : 0);
    take(columns, c.dx ? int64_t(threads) * BLOCK_ROWS * DX_VECTORS * L : 0);
  }

  // What no row that counts writes.
  void clear() {
    for (int64_t n = 0; n < c.N; n++)
      if (c.target[n] == c.ignore) {
        c.loss[n] = T(0);
        if (c.dx) std::memset(c.dx + n * c.K, 0, size_t(c.K) * sizeof(T));
      }
    if (!rows.empty()) return;
    if (c.dw) std::memset(c.dw, 0, size_t(c.V * c.K) * sizeof(T));
    if (c.db) std::memset(c.db, 0, size_t(c.V) * sizeof(T));
  }

  // Rows at .. at + n - 1 of those that count, in so many panels.
  struct Chunk {
    size_t at;
    int n, panels;
  };

  void work(int tid) {
    const int first = blocks * tid / threads, last = blocks * (tid + 1) / threads;
    sum_weights(tid);
    for (size_t at = 0; at < rows.size(); at += size_t(chunk)) {
      const int n = int(smaller(size_t(chunk), rows.size() - at)), panels = int(quotient_up(n, PANEL));
      const Chunk q = {at, n, panels};
      const int panel0 = panels * tid / threads, panel1 = panels * (tid + 1) / threads;
      for (int p = panel0; p < panel1; p++) pack(q, p);
      barrier.wait();
      for (int b = first; b < last; b++)
        for (int p = 0; p < panels; p++) multiply_block(q, b, p, tid);
      barrier.wait();
      if (c.weight) {
        for (int p = panel0; p < panel1; p++) find_tops(p);
        barrier.wait();
        for (int b = first; b < last; b++)
          for (int p = 0; p < panels; p++) exponentials(b, p);
        barrier.wait();
      }
      for (int p = panel0; p < panel1; p++) finish(q, p);
      barrier.wait();
      for (int b = first; c.dw && b < last; b++) weight_gradients(q, b);
      for (int b = first; c.db && b < last; b++) bias_gradients(q, b);
      if (c.dx) row_gradients(q, tid);
    }
  }

  int rows_of(int b) const { return b < blocks ? int(smaller<int64_t>(BLOCK_ROWS, c.V - int64_t(b) * BLOCK_ROWS)) : 0; }
  const T* w_row(int b, int r) const { return c.w + (int64_t(b) * BLOCK_ROWS + r) * K; }
  int64_t row_of(const Chunk& q, int i) const { return rows[q.at + size_t(i)]; }
  // The logits of block b and panel p; without gradients a thread keeps no others.
  T* tile_of(int b, int p, int tid = 0) const {
    return c.weight ? logits + (p * c.V + int64_t(b) * BLOCK_ROWS) * PANEL : logits + int64_t(tid) * BLOCK_ROWS * PANEL;
  }
  T* each(T* of_blocks, int b, int p) const { return of_blocks + int64_t(b) * chunk + p * PANEL; }

  // With smoothing: the sum of the rows of w, and of the rows of x by their weights.
  void sum_weights(int tid) {
    const double share = c.smoothing / double(c.V);
    const int first = Kp / L * tid / threads, last = Kp / L * (tid + 1) / threads;
    if (tid == 0) {
      double biases = 0, weights = 0;
      for (int64_t v = 0; share > 0 && c.bias && v < c.V; v++) biases += double(c.bias[v]);
      for (int64_t n : rows) weights += c.weight ? double(c.weight[n]) : 0.0;
      bias_sum = T(biases), start_bias = T(-share * weights);
    }
    for (int v = first; v < last; v++) {
      const int valid = smaller(L, K - v * L);
      V<T> all(0.0), x(0.0);
      for (int b = 0; share > 0 && b < blocks; b++) {
        V<T> some(0.0);
        for (int r = 0; r < rows_of(b); r++) some += V<T>::load(w_row(b, r) + v * L, valid);
        all += some;
      }
      if (share > 0 && c.weight)
        for (int64_t n : rows) x += V<T>::load(c.x + n * K + v * L, valid) * V<T>::all(c.weight[n]);
      all.store(w_sum + v * L), (x * V<T>(-share)).store(start + v * L);
    }
  }

  // The rows of a panel side by side, zeros beyond the chunk's last.
  void pack(const Chunk& q, int p) {
    T* const to = packed + int64_t(p) * K * PANEL;
    for (int first = 0; first < PANEL; first += L)
      for (int k = 0; k < K; k += L) {
        V<T> block[L];
        for (int l = 0; l < L; l++) {
          const int i = p * PANEL + first + l;
          block[l] = i < q.n ? V<T>::load(c.x + row_of(q, i) * K + k, K - k) : V<T>(0.0);
        }
        transpose(block);
        for (int l = 0; l < smaller(L, K - k); l++) block[l].store(to + (k + l) * PANEL + first);
      }
  }

  // The logits of a block for a panel, their maxima and those of the targets.
  void multiply_block(const Chunk& q, int b, int p, int tid) {
    const int many = rows_of(b), turns = int(quotient_up(many, TILE_ROWS));
    T* const to = tile_of(b, p, tid);
    const T zeros[TILE_ROWS] = {};
    Fetch next_w = Fetch(w_row(b + 1, 0), int64_t(rows_of(b + 1)) * K).piece(p, q.panels, turns);
    for (int k = 0, depth; k < K; k += depth) {
      depth = part(K - k, DEPTH);
      const T* const x = packed + (int64_t(p) * K + k) * PANEL;
      for (int r = 0, height; r < many; r += height) {
        height = part(many - r, TILE_ROWS);
        next_w.turn();
        const Rows<T> A = {w_row(b, r) + k, K, depth, 0, 1};
        const T* const bias = k ? nullptr : c.bias ? c.bias + int64_t(b) * BLOCK_ROWS + r : zeros;
        with_sizes<TILE_ROWS, 1>(height, 1,
                                 [&](auto M, auto) { Tiles<T>::template logits<M.value>(A, x, bias, to + r * PANEL); });
      }
    }
    find_hits(q, b, p, to);
    V<T> highest[PANEL_VECTORS];
    for (V<T>& v : highest) v = V<T>(-__builtin_inf());
    for (int r = 0; r < many; r++)
      for (int v = 0; v < PANEL_VECTORS; v++) highest[v] = greater(V<T>::load(to + r * PANEL + v * L), highest[v]);
    for (int v = 0; v < PANEL_VECTORS; v++) highest[v].store(each(tops, b, p) + v * L);
    if (!c.weight) sum_block<false>(to, many, highest, each(sums, b, p));
  }

  void find_hits(const Chunk& q, int b, int p, const T* tile) {
    for (int i = p * PANEL; i < smaller((p + 1) * PANEL, q.n); i++) {
      const int64_t r = c.target[row_of(q, i)] - int64_t(b) * BLOCK_ROWS;
      if (r >= 0 && r < rows_of(b)) hit[i] = tile[r * PANEL + i % PANEL];
    }
  }

  // The sums of exp(logit - from) down a block's rows; KEEP: the exponentials take the logits' place.
  template <bool KEEP>
  void sum_block(T* at, int many, const V<T> (&from)[PANEL_VECTORS], T* to) {
    V<T> sum[PANEL_VECTORS];
    for (V<T>& v : sum) v = V<T>(0.0);
    for (int r = 0; r < many; r++, at += PANEL)
      for (int v = 0; v < PANEL_VECTORS; v++) {
        const V<T> e = exp(V<T>::load(at + v * L) - from[v]);
        if (KEEP) e.store(at + v * L);
        sum[v] += e;
      }
    for (int v = 0; v < PANEL_VECTORS; v++) sum[v].store(to + v * L);
  }

  void exponentials(int b, int p) {
    V<T> from[PANEL_VECTORS];
    for (int v = 0; v < PANEL_VECTORS; v++) from[v] = V<T>::load(top + p * PANEL + v * L);
    sum_block<true>(tile_of(b, p), rows_of(b), from, each(sums, b, p));
  }

  void find_tops(int p) {
    for (int v = 0; v < PANEL_VECTORS; v++) {
      V<T> highest(-__builtin_inf());
      for (int b = 0; b < blocks; b++) highest = greater(V<T>::load(each(tops, b, p) + v * L), highest);
      highest.store(top + p * PANEL + v * L);
    }
  }

  // What a panel's rows lose, and the factors of their gradients.
  void finish(const Chunk& q, int p) {
    const T rest = T(1.0 - c.smoothing), share = T(c.smoothing / double(c.V));
    T whole[PANEL], log_whole[PANEL];
    if (!c.weight) find_tops(p);
    for (int v = 0; v < PANEL_VECTORS; v++) {
      const V<T> highest = V<T>::load(top + p * PANEL + v * L);
      V<T> sum(0.0);
      for (int b = 0; b < blocks; b++) {
        const V<T> some = V<T>::load(each(sums, b, p) + v * L);
        sum += c.weight ? some : some * exp(V<T>::load(each(tops, b, p) + v * L) - highest);
      }
      sum.store(whole + v * L), (highest + log(sum)).store(log_whole + v * L);
    }
    for (int i = p * PANEL, j = 0; j < PANEL; i++, j++) {
      factor[i] = T(0);
      if (i >= q.n) continue;
      const int64_t row = row_of(q, i);
      c.loss[row] = log_whole[j] - rest * hit[i];
      if (share > 0) c.loss[row] -= share * (dot(c.x + row * K, w_sum) + bias_sum);
      if (!c.weight) continue;
      logits[(p * c.V + c.target[row]) * PANEL + j] -= rest * whole[j];
      factor[i] = c.weight[row] / whole[j];
    }
    for (int i = p * PANEL; c.dw && i < (p + 1) * PANEL; i++) scale(i, i < q.n ? c.x + row_of(q, i) * K : nullptr);
  }

  T dot(const T* a, const T* padded) const {
    V<T> sum(0.0);
    for (int k = 0; k < K; k += L) sum += V<T>::load(a + k, K - k) * V<T>::load(padded + k);
    return total(sum).v[0];
  }

  // Row i of x times its factor, to where the products with it read it.
  void scale(int i, const T* x) {
    for (int v = 0; v < Kp / L; v++) {
      const int group = v / PANEL_VECTORS, width = smaller(PANEL_VECTORS, Kp / L - group * PANEL_VECTORS);
      const V<T> value = x ? V<T>::load(x + v * L, K - v * L) * V<T>::all(factor[i]) : V<T>(0.0);
      value.store(scaled + int64_t(group) * chunk * PANEL + (int64_t(i) * width + v % PANEL_VECTORS) * L);
    }
  }

  // What the chunk adds to the rows of dw of a block.
  void weight_gradients(const Chunk& q, int b) {
    const int many = rows_of(b), vectors = Kp / L, groups = int(quotient_up(vectors, PANEL_VECTORS));
    for (int g = 0; g < groups; g++) {
      const int v = g * PANEL_VECTORS, width = smaller(PANEL_VECTORS, vectors - v), valid = K - (v + width - 1) * L;
      for (int r = 0, height; r < many; r += height) {
        height = part(many - r, TILE_ROWS);
        for (int p = q.panels * g / groups; p < q.panels * (g + 1) / groups; p++)
          Fetch(tile_of(b + 1, p) + r * PANEL, smaller(height, rows_of(b + 1) - r) * PANEL).turn();
        const Rows<T> A = {tile_of(b, 0) + r * PANEL, PANEL, PANEL, c.V * PANEL, q.panels};
        T* const to = c.dw + (w_row(b, r) - c.w) + v * L;
        const T* const from = q.at ? to : start + v * L;
        with_sizes<TILE_ROWS, PANEL_VECTORS>(height, width, [&](auto M, auto NV) {
          Tiles<T>::template sums<M.value, NV.value>(A, scaled + int64_t(v) * L * chunk, from, q.at ? K : 0, to, K, valid);
        });
      }
    }
  }

  void bias_gradients(const Chunk& q, int b) {
    for (int r = 0; r < rows_of(b); r++) {
      V<T> sum(0.0);
      for (int p = 0; p < q.panels; p++)
        for (int i = 0; i < PANEL; i += L)
          sum += V<T>::load(tile_of(b, p) + r * PANEL + i) * V<T>::load(factor + p * PANEL + i);
      T& to = c.db[int64_t(b) * BLOCK_ROWS + r];
      to = (q.at ? to : start_bias) + total(sum).v[0];
    }
  }

  // This thread's columns of the chunk's rows of dx.
  void row_gradients(const Chunk& q, int tid) {
    const int first = Kp / L * tid / threads, last = Kp / L * (tid + 1) / threads;
    for (int i = 0; i < q.panels * PANEL; i++)
      std::memset(dx + int64_t(i) * Kp + first * L, 0, size_t(last - first) * L * sizeof(T));
    for (int b = 0; b < blocks; b++)
      for (int v = first, width; v < last; v += width) {
        width = part(last - v, DX_VECTORS);
        pack_columns(b, v, width, tid);
        add_rows(q, b, v, width, tid, first, last);
      }
    const V<T> share(-c.smoothing / double(c.V));
    for (int i = 0; i < q.n; i++) {
      const int64_t row = row_of(q, i);
      for (int v = first; v < last; v++) {
        V<T> value = V<T>::load(dx + int64_t(i) * Kp + v * L) * V<T>::all(factor[i]);
        if (c.smoothing > 0) value += share * V<T>::all(c.weight[row]) * V<T>::load(w_sum + v * L);
        value.store(c.dx + row * K + v * L, K - v * L);
      }
    }
  }

  T* columns_of(int tid) const { return columns + int64_t(tid) * BLOCK_ROWS * DX_VECTORS * L; }
  void pack_columns(int b, int v, int width, int tid) {
    T* to = columns_of(tid);
    for (int r = 0; r < rows_of(b); r++)
      for (int i = v; i < v + width; i++, to += L) V<T>::load(w_row(b, r) + i * L, K - i * L).store(to);
  }

  // What a block adds to `width` vectors of dx from v; first .. last - 1 are this thread's.
  void add_rows(const Chunk& q, int b, int v, int width, int tid, int first, int last) {
    const int depth = rows_of(b), turns = int(quotient_up(PANEL, DX_ROWS)), soon = rows_of(b + 1);
    Fetch next_w = Fetch(w_row(b + 1, 0), int64_t(soon) * K).piece(v - first, last - first, q.panels * turns, width);
    for (int p = 0; p < q.panels; p++) {
      Fetch next = Fetch(tile_of(b + 1, p), int64_t(soon) * PANEL).piece(v - first, last - first, turns, width);
      for (int m = 0, height; m < PANEL; m += height) {
        height = part(PANEL - m, DX_ROWS);
        next_w.turn(), next.turn();
        T* const to = dx + int64_t(p * PANEL + m) * Kp + v * L;
        with_sizes<DX_ROWS, DX_VECTORS>(height, width, [&](auto M, auto NV) {
          Tiles<T>::template transposed<M.value, NV.value>(depth, tile_of(b, p) + m, columns_of(tid), to, Kp);
        });
      }
    }
  }
};

template <class T>
int64_t run(const OutputCall<T>& c) {
  return OutputRun<T>(c).run();
}

#define LONGSPAN_TEXT(a) LONGSPAN_TEXT2(a)
#define LONGSPAN_TEXT2(a) #a
constexpr longspan::OutputDriver DRIVER = {LONGSPAN_TEXT(LS_ISA), run<float>, run<double>};

}  // namespace

const longspan::OutputDriver* output() { return &DRIVER; }

}  // namespace LS_ISA
