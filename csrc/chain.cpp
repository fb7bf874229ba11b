// Dense layers, losses and Adam for training steps so small that calls around the arithmetic would cost more than it does.
// Compiled once for each instruction set. Every sum is taken in one fixed order.
#include "chain.h"

#include <cmath>

#include "simd.h"

namespace LS_ISA {
namespace {

using longspan::Activation;
using longspan::AdamCall;
using longspan::DenseCall;
using longspan::Loss;
using longspan::LossCall;

typedef V<float> W;
constexpr int L = W::lanes;
constexpr int ROWS = 4, VECTORS = 2;  // of a tile, an accumulator each

LS_INLINE int at_most_lanes(int64_t n) { return n < L ? int(n) : L; }

// f(i, n) for every vector of `total` numbers: n lanes from i on.
template <class F>
LS_INLINE void for_vectors(int64_t total, F f) {
  for (int64_t i = 0; i < total; i += L) f(i, at_most_lanes(total - i));
}

// A strided factor: a(m, j) lies at p + m * row + j * column.
struct Factor {
  const float* p;
  int64_t row, column;
};

// c (M, K) = a (M, J) b (J, K) for R rows from m and NV vectors from k; `valid` lanes of the last.
template <int R, int NV>
LS_INLINE void tile(Factor a, int64_t m, int64_t J, const float* b, int64_t K, int64_t k, int valid, float* c) {
  W sums[R][NV];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < NV; v++) sums[r][v] = W(0.0);
  const float* from = a.p + m * a.row;
  for (int64_t j = 0; j < J; j++, from += a.column) {
    W values[NV];
    for (int v = 0; v < NV; v++) values[v] = W::load(b + j * K + k + v * L, v == NV - 1 ? valid : L);
    for (int r = 0; r < R; r++)
      for (int v = 0; v < NV; v++) sums[r][v] += W::all(from[r * a.row]) * values[v];
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < NV; v++) sums[r][v].store(c + (m + r) * K + k + v * L, v == NV - 1 ? valid : L);
}

template <int NV>
LS_INLINE void columns(Factor a, int64_t M, int64_t J, const float* b, int64_t K, int64_t k, int valid, float* c) {
  int64_t m = 0;
  for (; m + ROWS <= M; m += ROWS) tile<ROWS, NV>(a, m, J, b, K, k, valid, c);
  for (; m < M; m++) tile<1, NV>(a, m, J, b, K, k, valid, c);
}

// c (M, K) = a (M, J) b (J, K), all of it.
void product(Factor a, int64_t M, int64_t J, const float* b, int64_t K, float* c) {
  int64_t k = 0;
  for (; K - k >= VECTORS * L; k += VECTORS * L) columns<VECTORS>(a, M, J, b, K, k, L, c);
  for (; k < K; k += L) columns<1>(a, M, J, b, K, k, at_most_lanes(K - k), c);
}

float sum(const float* p, int64_t n) {
  W parts(0.0);
  for_vectors(n, [&](int64_t i, int lanes) { parts += W::load(p + i, lanes); });
  float lane[L];
  total<float>(parts).store(lane);
  return lane[0];
}

float dot(const float* a, const float* b, int64_t n) {
  W parts(0.0);
  for_vectors(n, [&](int64_t i, int lanes) { parts += W::load(a + i, lanes) * W::load(b + i, lanes); });
  float lane[L];
  total<float>(parts).store(lane);
  return lane[0];
}

// ---- dense layers

// exp(row - its maximum), and their sum.
float powers(const float* row, float* to, int64_t U) {
  float most = row[0];
  for (int64_t u = 1; u < U; u++) most = row[u] > most || row[u] != row[u] ? row[u] : most;
  for_vectors(U, [&](int64_t i, int n) { exp(W::load(row + i, n) - W::all(most)).store(to + i, n); });
  return sum(to, U);
}

void softmax(float* y, int64_t N, int64_t U) {
  for (int64_t n = 0; n < N; n++) {
    float* row = y + n * U;
    const W scale = W::all(1.0f / powers(row, row, U));
    for_vectors(U, [&](int64_t i, int lanes) { (W::load(row + i, lanes) * scale).store(row + i, lanes); });
  }
}

template <class F>
LS_INLINE void map(float* y, int64_t n, F f) {
  for_vectors(n, [&](int64_t i, int lanes) { f(W::load(y + i, lanes)).store(y + i, lanes); });
}

void activate(const DenseCall& c) {
  const int64_t n = c.N * c.U;
  if (c.activation == Activation::RELU) map(c.y, n, [](W x) { return relu(x); });
  if (c.activation == Activation::SIGMOID) map(c.y, n, [](W x) { return sigmoid(x); });
  if (c.activation == Activation::TANH) map(c.y, n, [](W x) { return tanh(x); });
  if (c.activation == Activation::SOFTMAX) softmax(c.y, c.N, c.U);
}

// dy times the activation's derivative, by its output y.
void through_activation(const DenseCall& c) {
  auto each = [&](auto derivative) {
    for_vectors(c.N * c.U,
                [&](int64_t i, int n) { (W::load(c.dy + i, n) * derivative(W::load(c.y + i, n))).store(c.dy + i, n); });
  };
  if (c.activation == Activation::RELU) each([](W y) { return gt(y, W(0.0)); });
  if (c.activation == Activation::SIGMOID) each([](W y) { return y * (W(1.0) - y); });
  if (c.activation == Activation::TANH) each([](W y) { return W(1.0) - y * y; });
  if (c.activation != Activation::SOFTMAX) return;
  for (int64_t r = 0; r < c.N; r++) {
    const float* y = c.y + r * c.U;
    float* dy = c.dy + r * c.U;
    const W inner = W::all(dot(dy, y, c.U));
    for_vectors(c.U, [&](int64_t i, int n) { (W::load(y + i, n) * (W::load(dy + i, n) - inner)).store(dy + i, n); });
  }
}

void backward(const DenseCall& c) {
  through_activation(c);
  if (c.dw) product({c.dy, 1, c.U}, c.U, c.N, c.x, c.K, c.dw);
  if (c.dx) product({c.dy, c.U, 1}, c.N, c.U, c.w, c.K, c.dx);
  if (!c.dbias) return;
  for_vectors(c.U, [&](int64_t u, int n) {
    W parts(0.0);
    for (int64_t r = 0; r < c.N; r++) parts += W::load(c.dy + r * c.U + u, n);
    parts.store(c.dbias + u, n);
  });
}

// ---- losses

double squared(const LossCall& c) {
  const int64_t n = c.N * c.U;
  const float* target = static_cast<const float*>(c.target);
  const W scale(2.0 / double(n));
  W parts(0.0);
  for_vectors(n, [&](int64_t i, int lanes) {
    const W error = W::load(c.y + i, lanes) - W::load(target + i, lanes);
    parts += error * error;
    (error * scale).store(c.dy + i, lanes);
  });
  float lane[L];
  total<float>(parts).store(lane);
  return double(lane[0]) / double(n);
}

double absolute(const LossCall& c) {
  const int64_t n = c.N * c.U;
  const float* target = static_cast<const float*>(c.target);
  const float share = float(1.0 / double(n));
  double all = 0;
  for (int64_t i = 0; i < n; i++) {
    const float error = c.y[i] - target[i];
    all += std::fabs(double(error));
    c.dy[i] = error > 0 ? share : error < 0 ? -share : error;  // 0 and NaN stay
  }
  return all / double(n);
}

float held(float p, float low, float high) { return p < low ? low : p > high ? high : p; }

double binary(const LossCall& c) {
  const int64_t n = c.N * c.U;
  const float* target = static_cast<const float*>(c.target);
  const float low = float(c.epsilon), high = float(1.0 - c.epsilon), share = float(1.0 / double(n));
  double all = 0;
  for (int64_t i = 0; i < n; i++) {
    const float y = c.y[i], t = target[i];
    if (c.logits) {
      const float power = std::exp(-std::fabs(y));
      all += double((y > 0 ? y : 0) - y * t + std::log1p(power));
      c.dy[i] = ((y >= 0 ? 1 / (1 + power) : power / (1 + power)) - t) * share;
    } else {
      const float p = held(y, low, high);
      all -= double(t * std::log(p) + (1 - t) * std::log(1 - p));
      c.dy[i] = y < low || y > high ? 0 : ((1 - t) / (1 - p) - t / p) * share;
    }
    if (y != y) all += double(y);
  }
  return all / double(n);
}

// The loss of one row of logits with targets t(u), and its gradient.
template <class F>
double row_of_logits(const float* y, float* dy, int64_t U, float share, F t) {
  const float power = powers(y, dy, U);
  float most = y[0];
  for (int64_t u = 1; u < U; u++) most = y[u] > most ? y[u] : most;
  const double logsum = double(most) + std::log(double(power));
  double loss = 0;
  float targets = 0;
  for (int64_t u = 0; u < U; u++) targets += t(u);
  for (int64_t u = 0; u < U; u++) {
    if (t(u) != 0) loss += double(t(u)) * (logsum - double(y[u]));
    dy[u] = (dy[u] / power * targets - t(u)) * share;
  }
  return loss;
}

// The same of probabilities, which are first divided by their sum and held between epsilon and 1 - epsilon.
template <class F>
double row_of_shares(const float* y, float* dy, int64_t U, float share, double epsilon, F t) {
  const float low = float(epsilon), high = float(1.0 - epsilon), whole = sum(y, U);
  double loss = 0;
  float inner = 0;
  for (int64_t u = 0; u < U; u++) {
    const float q = y[u] / whole, p = held(q, low, high);
    dy[u] = 0;
    if (t(u) != 0) {
      loss -= double(t(u)) * std::log(double(p));
      dy[u] = q < low || q > high ? 0 : -t(u) / p * share;
    }
    inner += dy[u] * q;
  }
  for (int64_t u = 0; u < U; u++) dy[u] = (dy[u] - inner) / whole;
  return whole == whole ? loss : double(whole);
}

double categorical(const LossCall& c) {
  const float share = float(1.0 / double(c.N));
  double all = 0;
  for (int64_t n = 0; n < c.N; n++) {
    const float* y = c.y + n * c.U;
    float* dy = c.dy + n * c.U;
    auto row = [&](auto t) {
      return c.logits ? row_of_logits(y, dy, c.U, share, t) : row_of_shares(y, dy, c.U, share, c.epsilon, t);
    };
    if (c.loss == Loss::CATEGORICAL) {
      const float* target = static_cast<const float*>(c.target) + n * c.U;
      all += row([&](int64_t u) { return target[u]; });
    } else {
      const int64_t number = static_cast<const int64_t*>(c.target)[n];
      if (number < 0 || number >= c.U) return -1;
      all += row([&](int64_t u) { return u == number ? 1.0f : 0.0f; });
    }
  }
  return all / double(c.N);
}

double loss(const LossCall& c);

// Row by row, as the loss of so many batches of one row.
double weighted(const LossCall& c) {
  double all = 0;
  for (int64_t n = 0; n < c.N; n++) {
    LossCall row = c;
    row.N = 1, row.weight = nullptr, row.y += n * c.U, row.dy += n * c.U;
    if (c.loss == Loss::SPARSE)
      row.target = static_cast<const int64_t*>(c.target) + n;
    else
      row.target = static_cast<const float*>(c.target) + n * c.U;
    const double value = loss(row), share = double(c.weight[n]) / double(c.N);
    if (value == -1) return -1;
    all += value * share;
    for (int64_t u = 0; u < c.U; u++) row.dy[u] *= float(share);
  }
  return all;
}

double loss(const LossCall& c) {
  if (c.weight) return weighted(c);
  switch (c.loss) {
    case Loss::SQUARED:
      return squared(c);
    case Loss::ABSOLUTE:
      return absolute(c);
    case Loss::BINARY:
      return binary(c);
    default:
      return categorical(c);
  }
}

// ---- Adam

void adam(int64_t n, float* w, const float* g, float* average, float* square, const AdamCall& c) {
  const W kept(1.0 - c.rate * c.decay), beta1(1.0 - c.beta1), beta2(c.beta2), rest2(1.0 - c.beta2), epsilon(c.epsilon);
  const W root(std::sqrt(c.correction2)), rate(c.rate / c.correction1);
  for_vectors(n, [&](int64_t i, int lanes) {
    const W grad = W::load(g + i, lanes);
    W m = W::load(average + i, lanes), v = W::load(square + i, lanes);
    m += beta1 * (grad - m);
    v = beta2 * v + rest2 * grad * grad;
    m.store(average + i, lanes), v.store(square + i, lanes);
    (kept * W::load(w + i, lanes) - rate * m / (sqrt(v) / root + epsilon)).store(w + i, lanes);
  });
}

constexpr longspan::ChainDriver DRIVER = {activate, backward, loss, adam};

}  // namespace

const longspan::ChainDriver* chain() { return &DRIVER; }

}  // namespace LS_ISA
