// Threads that do not fight PyTorch's, a barrier, and scratch memory that stays for the next call.
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "call.h"

namespace longspan {
namespace {

typedef void (*GompParallel)(void (*)(void*), void*, unsigned, unsigned);
typedef int (*OmpInt)();

// The OpenMP runtime PyTorch has loaded for everyone: with it our threads are PyTorch's own threads. All symbols must come
// from the same library: several may be loaded.
struct OpenMP {
  GompParallel parallel = nullptr;
  OmpInt thread = nullptr, threads = nullptr, nested = nullptr;
  OpenMP() {
    void* found = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    Dl_info where;
    if (!found || !dladdr(found, &where)) return;
    void* library = dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (!library) return;
    parallel = reinterpret_cast<GompParallel>(dlsym(library, "GOMP_parallel"));
    thread = reinterpret_cast<OmpInt>(dlsym(library, "omp_get_thread_num"));
    threads = reinterpret_cast<OmpInt>(dlsym(library, "omp_get_num_threads"));
    nested = reinterpret_cast<OmpInt>(dlsym(library, "omp_in_parallel"));
  }
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer does not see how an OpenMP runtime that it has not built orders its threads.
  bool usable() const { return false; }
#else
  bool usable() const { return parallel && thread && threads && nested && !nested(); }
#endif
};

struct Region {
  void (*work)(void*, int);
  void* data;
  int threads;
  const OpenMP* omp;
  bool short_of_threads;
};

void enter(void* p) {
  Region& r = *static_cast<Region*>(p);
  if (r.omp->threads() == r.threads)
    r.work(r.data, r.omp->thread());
  else if (r.omp->thread() == 0)
    r.short_of_threads = true;
}

void parallel_of_our_own(int threads, void (*work)(void*, int), void* data) {
  std::vector<std::thread> others;
  for (int i = 1; i < threads; i++) others.emplace_back(work, data, i);
  work(data, 0);
  for (std::thread& t : others) t.join();
}

}  // namespace

void parallel(int threads, void (*work)(void*, int), void* data) {
  if (threads <= 1) return work(data, 0);
  static const OpenMP omp;
  if (!omp.usable()) return parallel_of_our_own(threads, work, data);
  Region r = {work, data, threads, &omp, false};
  omp.parallel(enter, &r, unsigned(threads), 0);
  if (r.short_of_threads) parallel_of_our_own(threads, work, data);
}

void Barrier::wait() {
  if (threads <= 1) return;
  const int mine = __atomic_load_n(&turn, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == threads) {
    __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&turn, mine + 1, __ATOMIC_RELEASE);
    return;
  }
  for (int spins = 0; __atomic_load_n(&turn, __ATOMIC_ACQUIRE) == mine; spins++) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spins > 20000) sched_yield();  // someone else needs the core our partner waits for
  }
}

namespace {

struct Block {
  void* p;
  size_t bytes;
  bool free;
};
std::mutex lock;
std::vector<Block> blocks;

// What is held between calls, at most: an eighth of the memory this process may use, for a block of fresh memory costs more
// than the work in it.
size_t most_held() {
  size_t memory = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
  for (const char* limit : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
    if (FILE* file = std::fopen(limit, "r")) {
      unsigned long long bytes = 0;
      if (std::fscanf(file, "%llu", &bytes) == 1 && bytes < memory) memory = size_t(bytes);
      std::fclose(file);
    }
  return memory / 8;
}

const bool fill_with_nan =
    std::getenv("LONGSPAN_NAN_MEMORY") != nullptr;  // for tests: nothing may be read before it is written

void* handed(const Block& b) {
  if (fill_with_nan) std::memset(b.p, 0xff, b.bytes);
  return b.p;
}

}  // namespace

void* borrow(size_t bytes) {
  bytes = (bytes + 4095) / 4096 * 4096;
  std::lock_guard<std::mutex> hold(lock);
  Block* best = nullptr;
  for (Block& b : blocks)
    if (b.free && b.bytes >= bytes && b.bytes <= 4 * bytes && (!best || b.bytes < best->bytes)) best = &b;
  if (best) {
    best->free = false;
    return handed(*best);
  }
  // the new block can do what free ones of a like size did, so they need not be held beside it
  for (size_t i = 0; i < blocks.size();) {
    if (blocks[i].free && blocks[i].bytes < bytes && 4 * blocks[i].bytes >= bytes)
      std::free(blocks[i].p), blocks.erase(blocks.begin() + long(i));
    else
      i++;
  }
  void* p = std::aligned_alloc(4096, bytes ? bytes : 4096);
  if (!p) throw std::bad_alloc();
  blocks.push_back({p, bytes ? bytes : 4096, false});
  return handed(blocks.back());
}

void give_back(void* p) {
  static const size_t most = most_held();
  std::lock_guard<std::mutex> hold(lock);
  size_t held = 0;
  for (Block& b : blocks) {
    if (b.p == p) b.free = true;
    if (b.free) held += b.bytes;
  }
  for (size_t i = 0; i < blocks.size() && held > most;)  // the oldest go first
    if (blocks[i].free) {
      held -= blocks[i].bytes;
      std::free(blocks[i].p);
      blocks.erase(blocks.begin() + long(i));
    } else {
      i++;
    }
}

}  // namespace longspan
