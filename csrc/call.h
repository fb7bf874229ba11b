// What one layer's run is made of, as plain data: shared by the binding, the drivers and a user's own compiled cell.
//
// Letters: B batch, T time, I input, H hidden, R recurrent width (H, or the projection's), G gates, S states, P per-unit
// extras, K values saved for the backward pass, L lanes of a vector, U = ceil(H / L) units (vectors of H), D directions.
#pragma once
#include <cstddef>
#include <cstdint>

namespace longspan {

constexpr int ABI = 3;  // a compiled cell of another number is refused
constexpr int MAX_STATES = 8, MAX_GATES = 12, MAX_PARAMS = 12;

// Row m of a strided table lies at p + m * step.
template <class T>
struct Strided {
  T* p = nullptr;
  ptrdiff_t step = 0;
  T* operator[](ptrdiff_t m) const { return p + m * step; }
  explicit operator bool() const { return p != nullptr; }
};

// One state's zoneout: row `row` of the mask (1 keeps the previous value) at mask + row * width, or the plain rate.
struct ZoneRate {
  const uint8_t* mask = nullptr;
  double rate = 0;
  int width = 0;
  bool on = false;
};

// The pointwise part of a step, forward, for `rows` rows and units unit0 .. unit0 + units - 1.
template <class T>
struct PointForward {
  int rows, unit0, units, H, Hp;  // Hp = U * L
  Strided<const T> r;             // R h + b_r; vector (u, g) at ((u - r_unit0) * G + g) * L
  int r_unit0;
  Strided<const T> x;  // W x + b; vector (u, g) at (u * G + g) * L
  const T* const* s;   // [rows] previous states, (S, Hp): h last, absent without has_h
  const T* p;          // (P, Hp)
  Strided<T> n;        // new states, likewise
  bool has_h;
  Strided<T> y;        // saved: (U, Ky, L), or absent
  int Ky;              // K, or K + S where raw states are kept beside (zoneout)
  const int64_t* row;  // [rows] this step's row in the user's tensors
  T* out;              // h at out + row * out_step, or null (the projection writes it)
  ptrdiff_t out_step;
  Strided<T> a;             // what the next step multiplies by R: h * drop, (Hp)
  Strided<const T> drop;    // (Hp), or absent
  const uint8_t* resets;    // [rows] whether the next step starts afresh, or null
  T* gates;                 // (G + S - 1, gates_rows, H), or null
  ptrdiff_t gates_step;     // gates_rows * H
  bool gates_non_temporal;  // stored past the caches; every vector is aligned to a register
  const ZoneRate* zone;     // [S], or null
  Strided<const T> nc;      // normalised new c, (Hp): second half of a layer-normalised step
};

// The same, backward.
template <class T>
struct PointBackward {
  int rows, unit0, units, H, Hp;
  const T* h;  // where the states go without h: this step's at h + row * h_step
  ptrdiff_t h_step;
  Strided<const T> acc;  // dr R of the following step; vector u at (u - acc_unit0) * L
  int acc_unit0, live;   // rows 0 .. live - 1 have one
  const uint8_t* fresh;  // [rows] 1: the following step started afresh, so nothing comes from it; or null
  Strided<const T> drop;
  Strided<T> d;           // carried gradients of the states, (S, Hp), replaced by the previous states'
  Strided<const T> y, n;  // saved (U, Ky, L); new states, laid out as in PointForward
  int Ky, K;              // raw states, where zoneout keeps them, start at K
  const T* const* s;      // [rows] previous states, likewise
  const T* p;             // (P, Hp)
  const uint8_t* resets;  // [rows] 1: this step started afresh; or null
  const int64_t* row;
  const T* dout;  // gradient of h at dout + row * dout_step, or null
  ptrdiff_t dout_step;
  T *dx, *dr, *dp;  // row m, unit u, gate g: at u * (unit step) + m * (row step) + g * L; dr null if it equals dx
  ptrdiff_t dx_unit, dx_row, dr_unit, dr_row, dp_unit, dp_row;
  const ZoneRate* zone;
  Strided<const T> nc;  // normalised new c
  Strided<T> dnc;       // its gradient: written by the first half, (Hp)
  Strided<const T> dc;  // what the normalisation makes of it, added to the raw c's gradient in the second half
};

// A cell compiled for one instruction set and one number type.
template <class T>
struct CellTable {
  const char* name;
  int G, S, P, K, C;                         // C: index of the state c, or -1
  bool shared, reads_h, keeps_h, recurrent;  // whether the step, and its gradient, read the previous h other than through R
  double initial[MAX_STATES];
  void (*forward)(const PointForward<T>&);
  void (*backward)(const PointBackward<T>&);
  int norm_K;  // the layer-normalised step in two halves; null without a state c
  void (*forward_c)(const PointForward<T>&);
  void (*forward_h)(const PointForward<T>&);
  void (*backward_h)(const PointBackward<T>&);
  void (*backward_c)(const PointBackward<T>&);
};

struct CellEntry {
  int abi;
  const CellTable<float>* f32;
  const CellTable<double>* f64;
};

// Which steps each row really takes. Rows are sorted by their number of steps; step k of sorted row j is packed row
// offset[k] + j, so that every step's rows lie together and the finished ones have dropped out.
struct Plan {
  int64_t B, T, steps;    // steps: the longest row's
  int64_t total;          // packed rows
  const int32_t* order;   // [B] sorted row -> row of the batch
  const int32_t* count;   // [B] steps of the sorted row
  const int64_t* offset;  // [steps + 1]
  const int64_t* row;     // [total] packed row -> row of the user's (T, B) or (B, T) tensors
  const uint8_t* reset;   // [total] or null
  const uint8_t* last;    // [B] sorted rows whose state is reset after their last step, or null
  // Rows that take no step but show the carried h, for masks with holes: null where there are none.
  const int64_t* carried;  // [carried_n] row of the user's tensors
  const int64_t* from;     // [carried_n] packed row whose h it shows; -1 - j: sorted row j's initial h; HOLD: a reset one
  int64_t carried_n;
};
constexpr int64_t HOLD = INT64_MIN;

// One direction of one layer. User's tensors are contiguous rows; weights are in torch's layout.
template <class T>
struct Call {
  const CellTable<T>* cell;
  const Plan* plan;
  int64_t I, H, R;                                                               // R = H without projection
  const T* x;                                                                    // (rows, I)
  const T *w, *r, *bx, *br, *p, *proj, *norm_x, *norm_r, *norm_c, *norm_c_bias;  // null where absent
  const float *w_scale, *r_scale;  // (G*H) of the rows of w and r, which are int8 then (int8.h); null for numbers T
  const T* state[MAX_STATES];      // (B, W) each
  const T* drop;                   // (B, R) or null
  const ZoneRate* zone;            // [S] or null
  T* out;                          // (rows, out_step), this direction's first column
  int64_t out_step;
  T* last[MAX_STATES];  // (B, W) final states
  T* gates;             // (G + S - 1, rows, H) or null
  int64_t gate_rows;
  T* saved;  // or null: inference
  // backward
  const T* dout;
  const T* dlast[MAX_STATES];  // or null
  T* dx;                       // (rows, I) or null; added to where dx_add
  bool dx_add;
  T* dstate[MAX_STATES];  // or null
  T *dw, *dr, *dbx, *dbr, *dp, *dproj, *dnorm_x, *dnorm_r, *dnorm_c, *dnorm_c_bias;
  int threads;
};

// One step of a few rows at inference: plain layers only. Weights are read where they lie, which for so little work is
// cheaper than packing them.
template <class T>
struct StepCall {
  const CellTable<T>* cell;
  int64_t I, H;
  const T *w, *r, *bx, *br, *p;
  const float *w_scale, *r_scale;  // as in Call
};
constexpr int STEP_ROWS = 4;  // beyond, packing pays

// A linear layer over a few rows: out (B, V) = x (B, K) w^T + bias, with w (V, K) read where it lies; bias may be null.
template <class T>
struct LinearCall {
  int64_t B, K, V;
  const T *x, *w, *bias;
  T* out;
};

// A driver: every function of one instruction set.
struct Driver {
  const char* name;
  const char* flags;  // what the compiler was told, for a user's own cell
  int cells;
  const CellEntry* const* entries;
  int64_t (*saved32)(const Call<float>&);  // numbers to be saved for each packed row
  int64_t (*saved64)(const Call<double>&);
  void (*forward32)(const Call<float>&);
  void (*forward64)(const Call<double>&);
  void (*backward32)(const Call<float>&);
  void (*backward64)(const Call<double>&);
  void (*step32)(const StepCall<float>&, int64_t B, const float* x, const float* const* s, float* const* n, float* out);
  void (*step64)(const StepCall<double>&, int64_t B, const double* x, const double* const* s, double* const* n, double* out);
  void (*linear32)(const LinearCall<float>&);
  void (*linear64)(const LinearCall<double>&);
  void (*draw)(uint8_t* to, int64_t n, double rate, uint64_t seed);  // a random mask
  double (*peak)(double seconds);                                    // GFLOP/s of float32 multiply-adds on one thread
};

// threads.cpp: PyTorch's own OpenMP pool where there is one, else threads of our own.
void parallel(int threads, void (*work)(void*, int), void* data);
struct Barrier {
  int threads;
  int arrived = 0, turn = 0;
  void wait();
};
// Scratch memory, 64-byte aligned, kept for the next call.
void* borrow(size_t bytes);
void give_back(void* block);

}  // namespace longspan
