// What stands around the recurrent layers of a training step, as plain data: shared by the binding and csrc/chain.cpp.
#pragma once
#include <cstdint>

namespace longspan {

enum class Activation { LINEAR, RELU, SIGMOID, TANH, SOFTMAX };

// y (N, U) = activation(x (N, K) w^T + bias), with w (U, K). Backward, dy (N, U) is replaced by the gradient before the
// activation. Pointers are null where a tensor is absent or a gradient is not wanted.
struct DenseCall {
  int64_t N, K, U;
  Activation activation;
  const float *x, *w, *bias;
  float *y, *dy, *dx, *dw, *dbias;
};

enum class Loss { SQUARED, ABSOLUTE, BINARY, CATEGORICAL, SPARSE };

// The mean loss of predictions y (N, U), and its gradient dy. The targets are (N, U), of SPARSE int64 (N). Probabilities are
// held between epsilon and 1 - epsilon. Each row's loss is multiplied by its weight (N), where there are weights.
struct LossCall {
  Loss loss;
  bool logits;  // whether y are logits: of BINARY, CATEGORICAL and SPARSE
  int64_t N, U;
  const float* y;
  const void* target;
  const float* weight;
  float* dy;
  double epsilon;
};

// One step of Adam: Kingma and Ba 2015, with the corrections of the averages given, and weight decay apart from the gradient.
struct AdamCall {
  double rate, beta1, beta2, epsilon, correction1, correction2, decay;
};

// The functions of one instruction set.
struct ChainDriver {
  void (*activate)(const DenseCall&);  // y = activation(y)
  void (*backward)(const DenseCall&);
  double (*loss)(const LossCall&);  // -1 where a class number of SPARSE is out of range
  void (*adam)(int64_t n, float* w, const float* g, float* average, float* square, const AdamCall&);
};

}  // namespace longspan
