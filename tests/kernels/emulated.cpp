// The kernels of another processor as a program: calls come in on one pipe and go out on another (see emulated.py).
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "arguments.h"
#include "call.h"
#include "plan.h"

namespace LS_ISA {
const longspan::Driver* driver();
}

namespace {

using longspan::Call;
using longspan::Driver;
using longspan::PlanStore;

void in(void* to, size_t bytes) {
  for (char* p = static_cast<char*>(to); bytes;) {
    const ssize_t n = read(0, p, bytes);
    if (n <= 0) std::exit(n < 0);  // nobody is asking any more
    p += n, bytes -= size_t(n);
  }
}
void out(const void* from, size_t bytes) {
  for (const char* p = static_cast<const char*>(from); bytes;) {
    const ssize_t n = write(1, p, bytes);
    if (n <= 0) std::exit(1);
    p += n, bytes -= size_t(n);
  }
}
int64_t whole() {
  int64_t n;
  in(&n, sizeof n);
  return n;
}

// A count of bytes, -1 for none, then these, at the start of a cache line.
struct Bytes {
  int64_t n = whole();
  std::unique_ptr<char, void (*)(void*)> p{
      n < 0 ? nullptr : static_cast<char*>(std::aligned_alloc(64, size_t(n + 64) / 64 * 64)), std::free};
  Bytes() {
    if (n > 0) in(p.get(), size_t(n));
  }
};

struct Tensors {
  std::vector<Bytes>& all;
  size_t at = 0;
  template <class P>
  void operator()(P*& to, int d = 0, int parts = 1) {
    Bytes& one = all.at(at++);
    to = reinterpret_cast<P*>(one.p ? one.p.get() + one.n / parts * d : nullptr);
  }
  template <class P>
  void operator()(P* (&to)[longspan::MAX_STATES], int n, int d, int parts) {
    for (int i = 0; i < n; i++) (*this)(to[i], d, parts);
  }
  void pass(int n) { at += size_t(n); }
  bool more() const { return at < all.size(); }
};

template <class T>
void run(bool back, uintptr_t entry, const std::vector<std::unique_ptr<PlanStore>>& plans, const longspan::Sizes& sizes,
         std::vector<Bytes>& tensors, const std::vector<double>& rates) {
  const Driver& d = *LS_ISA::driver();
  for (int i = 0; i < sizes.directions; i++) {
    longspan::ZoneRate zone[longspan::MAX_STATES];
    Tensors next{tensors};
    const Call<T> c = longspan::make_call<T>(entry, plans[size_t(i)]->plan, sizes, next, i, rates, zone);
    if constexpr (sizeof(T) == 4)
      (back ? d.backward32 : d.forward32)(c);
    else
      (back ? d.backward64 : d.forward64)(c);
  }
}

void answer(bool back, bool f64, uintptr_t entry) {
  longspan::Sizes sizes = {};
  sizes.I = whole(), sizes.H = whole(), sizes.R = whole(), sizes.rows = whole(), sizes.threads = int(whole());
  sizes.directions = int(whole());
  std::vector<std::unique_ptr<PlanStore>> plans;
  const int64_t T = whole(), B = whole(), time_major = whole();
  Bytes lengths, mask, reset;
  for (int d = 0; d < sizes.directions; d++) {
    auto flags = [&](Bytes& b) { return longspan::Flags{reinterpret_cast<uint8_t*>(b.p.get()), B, 1}; };
    plans.emplace_back(
        new PlanStore(T, B, reinterpret_cast<int64_t*>(lengths.p.get()), flags(mask), flags(reset), d > 0, time_major != 0));
  }
  std::vector<double> rates(static_cast<size_t>(whole()));
  in(rates.data(), rates.size() * sizeof(double));
  std::vector<Bytes> tensors(static_cast<size_t>(whole()));
  (f64 ? run<double> : run<float>)(back, entry, plans, sizes, tensors, rates);
  for (const Bytes& one : tensors)
    if (one.n > 0) out(one.p.get(), size_t(one.n));
}

}  // namespace

int main() {
  const Driver& d = *LS_ISA::driver();
  for (;;) {
    const int64_t verb = whole(), f64 = whole();
    Bytes name;
    uintptr_t entry = 0;
    for (int i = 0; i < d.cells; i++)
      if (std::string(name.p.get(), size_t(name.n)) == d.entries[i]->f32->name) entry = uintptr_t(d.entries[i]);
    if (verb < 2) {
      answer(verb == 1, f64 != 0, entry);
      continue;
    }
    int64_t n[6];
    in(n, sizeof n);
    const int64_t found = longspan::saved_per_row(d, f64 != 0, entry, n[0], n[1], n[2], n[3], n[4], n[5]);
    out(&found, sizeof found);
  }
}
