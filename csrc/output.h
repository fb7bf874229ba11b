// One call of the output layer, as plain data: shared by the binding and csrc/output.cpp.
#pragma once
#include <cstdint>

namespace longspan {

// Rows x (N, K) of a linear layer w (V, K), bias (V) or null, and their targets (N), each from 0 to V - 1 or `ignore`. The
// tensors are contiguous.
template <class T>
struct OutputCall {
  int64_t N, K, V;
  const T *x, *w, *bias;
  const int64_t* target;
  int64_t ignore;
  double smoothing;
  const T* weight;  // (N) of each row's loss in the sum whose gradients are wanted; null where none are
  T* loss;          // (N), 0 where ignored
  T *dx, *dw, *db;  // (N, K), (V, K), (V), or null; overwritten
  int threads;
};

// The functions of one instruction set. They return the first row whose target is out of range, having done nothing; else -1.
struct OutputDriver {
  const char* name;
  int64_t (*run32)(const OutputCall<float>&);
  int64_t (*run64)(const OutputCall<double>&);
};

}  // namespace longspan
