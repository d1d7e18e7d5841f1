// The functions of NCCL that src/backends/cuda/nccl/nccl-library.ts binds, for ranks that are processes of this machine on
// emulated drivers: they exchange by a file that all map. A rank whose partner is gone or stands still waits for ever on its
// stream, as on a GPU.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

const int MOST_RANKS = 8;
const size_t WINDOW = 1 << 16;

// What the ranks of a group share.
struct Shared {
  std::atomic<int> joined, arrived, generation;
  float windows[MOST_RANKS][WINDOW];
};

struct Comm {
  Shared* shared;
  int rank, size;
  std::atomic<int> aborted, exchanges;
};

struct Id {
  char path[128];
};

enum Kind { REDUCE, GATHER, BROADCAST };
struct Exchange {
  Kind kind;
  const float* from;
  float* to;
  size_t count;
  int root;
  Comm* comm;
};
typedef std::vector<Exchange> Exchanges;

thread_local int depth;
thread_local Exchanges collected;

void nap() { usleep(100); }

bool meet(Comm* comm) {
  Shared* shared = comm->shared;
  const int generation = shared->generation;
  if (++shared->arrived == comm->size) {
    shared->arrived = 0;
    shared->generation++;
    return true;
  }
  while (shared->generation == generation) {
    if (comm->aborted) return false;
    nap();
  }
  return true;
}

void run(const Exchange& exchange) {
  Comm* comm = exchange.comm;
  for (size_t begin = 0; begin < exchange.count; begin += WINDOW) {
    const size_t count = exchange.count - begin < WINDOW ? exchange.count - begin : WINDOW;
    memcpy(comm->shared->windows[comm->rank], exchange.from + begin, 4 * count);
    if (!meet(comm)) return;
    for (int rank = 0; rank < comm->size; rank++) {
      const float* shown = comm->shared->windows[rank];
      float* to = exchange.to + begin;
      if (exchange.kind == GATHER) memcpy(to + rank * exchange.count, shown, 4 * count);
      if (exchange.kind == BROADCAST && rank == exchange.root) memcpy(to, shown, 4 * count);
      if (exchange.kind == REDUCE)
        for (size_t i = 0; i < count; i++) to[i] = (rank ? to[i] : 0) + shown[i];
    }
    if (!meet(comm)) return;
  }
  comm->exchanges++;
}

void runAll(void* exchanges) {
  for (const Exchange& exchange : *(Exchanges*)exchanges) run(exchange);
}

// On the driver's stream, or in the graph that it captures.
int enqueueAll() {
  typedef void (*Enqueue)(void (*)(void*), void*);
  static Enqueue enqueue =
      (Enqueue)dlsym(dlopen(getenv("MAMBA2_CUDA_LIBRARY"), RTLD_NOW | RTLD_NOLOAD), "emulated_enqueue");
  // A graph may run it again at any time: it is never freed.
  if (!collected.empty()) enqueue(runAll, new Exchanges(collected));
  collected.clear();
  return 0;
}

int add(const Exchange& exchange) {
  collected.push_back(exchange);
  return depth > 0 ? 0 : enqueueAll();
}

int setting(const char* name, int otherwise) { return getenv(name) ? atoi(getenv(name)) : otherwise; }

}  // namespace

extern "C" {
int ncclGetVersion(int* version) { return *version = setting("EMULATED_NCCL_VERSION", 22807), 0; }
int ncclGetUniqueId(Id* id) {
  static int count;
  snprintf(id->path, sizeof id->path, "/tmp/mamba2-nccl-%d-%d", getpid(), count++);
  const int file = open(id->path, O_CREAT | O_TRUNC | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared)) != 0) return 2;
  return close(file), 0;
}
int ncclCommInitRank(uint64_t* out, int size, Id id, int rank) {
  const int file = open(id.path, O_RDWR);
  if (file < 0 || size > MOST_RANKS) return 2;
  Comm* comm = new Comm{};
  comm->shared = (Shared*)mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  comm->rank = rank;
  comm->size = size;
  close(file);
  // The file is gone with the last that maps it.
  if (++comm->shared->joined == size) unlink(id.path);
  while (comm->shared->joined < size) nap();
  return *out = (uint64_t)comm, 0;
}
int ncclCommGetAsyncError(Comm* comm, int* code) {
  const int most = setting("EMULATED_NCCL_FAIL_AFTER", -1);
  return *code = most >= 0 && comm->exchanges > most ? 6 : 0, 0;
}
int ncclCommAbort(Comm* comm) { return comm->aborted = 1, 0; }
int ncclGroupStart() { return depth++, 0; }
int ncclGroupEnd() { return --depth > 0 ? 0 : enqueueAll(); }
int ncclAllReduce(const float* from, float* to, size_t count, int, int, Comm* comm, uint64_t) {
  return add({REDUCE, from, to, count, 0, comm});
}
int ncclAllGather(const float* from, float* to, size_t count, int, Comm* comm, uint64_t) {
  return add({GATHER, from, to, count, 0, comm});
}
int ncclBroadcast(const float* from, float* to, size_t count, int, int root, Comm* comm, uint64_t) {
  return add({BROADCAST, from, to, count, root, comm});
}
const char* ncclGetErrorString(int code) { return code == 6 ? "remote process exited or there was a network error" : "a failure"; }
const char* ncclGetLastError(Comm*) { return "what the emulator was asked for"; }
}
