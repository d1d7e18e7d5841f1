// The driver's functions that src/backends/cuda/device/driver.ts binds, over the host's memory and kernels compiled for the
// host. A stream does everything at once, or with EMULATED_ASYNC on a thread of its own, so that calls return before; a graph
// holds what was captured.
#include <dlfcn.h>
#include <sys/mman.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda-on-host.h"

dim3_ blockIdx, blockDim, gridDim;

// --- threads of a block ---------------------------------------------------------------------------------------------

namespace {

const size_t STACK = 256 * 1024;
struct Fiber {
  void* stackPointer = nullptr;
  char* stack = nullptr;
  int thread = -1;  // -1: none, it is free
  unsigned waitsFor = 0;
};

struct Barrier {
  int live = 0, arrived = 0;
  unsigned generation = 0;
  void arrive() {
    if (++arrived == live) release();
  }
  void leave() {
    live--;
    if (live > 0 && arrived == live) release();
  }
  void release() {
    arrived = 0;
    generation++;
  }
};

// A block that runs, with the fibers that its threads run on.
struct Block {
  dim3_ index;
  std::vector<Fiber*> fibers;
  Barrier barrier, warpBarriers[32];
  uint32_t exchanged[32][2][32];
  // What lanes have shown, 8 words to a lane.
  uint32_t shown[32][2][32 * 8];
  int nextThread = 0, numThreads = 0, numRunning = 0;
  // As much as a block can have on any GPU.
  alignas(1024) char shared[227 * 1024];
};

Fiber* current;
Block* block;
void* mainStack;
dim3_ threads[1024];
std::function<void()>* body;

extern "C" void switch_stack(void** from, void* to);
asm(R"(
.text
.globl switch_stack
switch_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");

// Threads run on a fiber one after another, until one of them has to wait.
void fiberMain() {
  for (;;) {
    while (block->nextThread < block->numThreads) {
      current->thread = block->nextThread++;
      (*body)();
      block->warpBarriers[current->thread / 32].leave();
      block->barrier.leave();
      block->numRunning--;
    }
    current->thread = -1;
    switch_stack(&current->stackPointer, mainStack);
  }
}

Fiber* freeFiber(Block& of) {
  for (Fiber* fiber : of.fibers)
    if (fiber->thread < 0) return fiber;
  Fiber* fiber = new Fiber;
  fiber->stack = (char*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void** top = (void**)(fiber->stack + STACK - 64);
  *--top = nullptr;
  *--top = (void*)fiberMain;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  fiber->stackPointer = top;
  of.fibers.push_back(fiber);
  return fiber;
}

void resume(Fiber* fiber) {
  current = fiber;
  switch_stack(&mainStack, fiber->stackPointer);
}

void waitFor(Barrier& barrier) {
  const unsigned generation = barrier.generation;
  barrier.arrive();
  while (barrier.generation == generation) switch_stack(&current->stackPointer, mainStack);
}

void begin(Block& next, dim3_ index) {
  next.index = index;
  next.nextThread = 0;
  next.numThreads = next.numRunning = (int)(blockDim.x * blockDim.y * blockDim.z);
  next.barrier.live = next.numThreads;
  next.barrier.arrived = 0;
  for (int w = 0; w < 32; w++) {
    const int count = next.numThreads - 32 * w;
    next.warpBarriers[w].live = count < 0 ? 0 : count > 32 ? 32 : count;
    next.warpBarriers[w].arrived = 0;
  }
}

// Lets each thread of a block run until it has to wait.
void takeTurn(Block& next) {
  block = &next;
  blockIdx = next.index;
  if (next.nextThread < next.numThreads) resume(freeFiber(next));
  for (size_t i = 0; i < next.fibers.size() && next.numRunning > 0; i++)
    if (next.fibers[i]->thread >= 0) resume(next.fibers[i]);
}

// Blocks of a grid, so many at a time.
void runGrid(std::function<void()>& run, size_t atOnce) {
  static std::vector<std::unique_ptr<Block>> blocks;
  while (blocks.size() < atOnce) blocks.push_back(std::make_unique<Block>());
  body = &run;
  const size_t count = (size_t)gridDim.x * gridDim.y * gridDim.z;
  for (size_t first = 0; first < count; first += atOnce) {
    const size_t own = count - first < atOnce ? count - first : atOnce;
    for (size_t i = 0; i < own; i++) {
      const unsigned at = (unsigned)(first + i);
      begin(*blocks[i], {at % gridDim.x, at / gridDim.x % gridDim.y, at / gridDim.x / gridDim.y});
    }
    for (bool isRunning = true; isRunning;) {
      isRunning = false;
      for (size_t i = 0; i < own; i++) {
        if (blocks[i]->numRunning > 0) takeTurn(*blocks[i]);
        isRunning = isRunning || blocks[i]->numRunning > 0;
      }
    }
  }
}

}  // namespace

extern "C" dim3_* emulated_thread() { return &threads[current->thread]; }
extern "C" void* emulated_shared() { return block->shared; }
extern "C" void emulated_barrier() { waitFor(block->barrier); }
extern "C" void emulated_warp_barrier() { waitFor(block->warpBarriers[current->thread / 32]); }
// Lets other threads run, those of other blocks, too.
extern "C" void emulated_yield() { switch_stack(&current->stackPointer, mainStack); }
extern "C" uint32_t emulated_exchange(uint32_t value, int lane) {
  const int warp = current->thread / 32;
  const unsigned parity = block->warpBarriers[warp].generation & 1;
  block->exchanged[warp][parity][current->thread % 32] = value;
  waitFor(block->warpBarriers[warp]);
  return block->exchanged[warp][parity][lane];
}
// What all lanes of the warp have shown, 8 words to a lane.
extern "C" const uint32_t* emulated_show(const uint32_t* words, int count) {
  const int warp = current->thread / 32;
  uint32_t* all = block->shown[warp][block->warpBarriers[warp].generation & 1];
  memcpy(all + 8 * (current->thread % 32), words, 4 * count);
  waitFor(block->warpBarriers[warp]);
  return all;
}

// --- the driver -----------------------------------------------------------------------------------------------------

typedef uint64_t Handle;
// Parameters are larger than what is passed in registers, so they lie on the stack: as many of them as there are.
struct Parameters {
  char bytes[1024];
};
typedef void (*Kernel)(Parameters);
typedef std::vector<std::function<void()>> Graph;

static Graph* capturing;
static Handle lastStream = 1, capturedStream;
static uint64_t numCooperative;
static size_t used, most = (size_t)16 << 30;
static std::map<Handle, size_t> allocations;
static int failure, failAfter = -1;

enum { OUT_OF_MEMORY = 2, INVALID_VALUE = 1, NOT_FOUND = 500, NOT_READY = 600, TOO_LARGE = 720 };

// What the test asked for: every call fails from then on, as those of a lost device do.
static int failed() {
  if (failAfter >= 0 && failAfter-- == 0) failure = 700;
  return failure;
}
#define CHECKED \
  if (int code = failed()) return code;

// The stream's thread, and what it has still to do. It is never freed: the thread may wait for another process for ever.
struct Stream {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> queue;
  uint64_t given = 0, done = 0;

  Stream() { std::thread([this] { run(); }).detach(); }
  void run() {
    for (std::unique_lock<std::mutex> lock(mutex);;) {
      changed.wait(lock, [this] { return !queue.empty(); });
      std::function<void()> work = queue.front();
      queue.pop_front();
      lock.unlock();
      work();
      lock.lock();
      done++;
      changed.notify_all();
    }
  }
  void give(std::function<void()> work) {
    std::lock_guard<std::mutex> lock(mutex);
    queue.push_back(work);
    given++;
    changed.notify_all();
  }
  void finish() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [this] { return done == given; });
  }
};

static Stream* stream() {
  static Stream* one = getenv("EMULATED_ASYNC") ? new Stream : nullptr;
  return one;
}
static void finish() {
  if (stream()) stream()->finish();
}
static void enqueue(std::function<void()> work, Handle on = 0) {
  if (capturing && (on == 0 || on == capturedStream)) capturing->push_back(work);
  else if (stream()) stream()->give(work);
  else work();
}

// A kernel of the library that this is part of.
static void* own(const char* name) {
  static void* library;
  Dl_info info;
  if (!library && dladdr((void*)own, &info)) library = dlopen(info.dli_fname, RTLD_NOW);
  return dlsym(library, name);
}

extern "C" {
void emulated_reset(uint64_t memory, int failAfterCalls) {
  most = memory;
  failure = 0;
  failAfter = failAfterCalls;
}
uint64_t emulated_used() { return used; }
// Cooperative launches that have run.
uint64_t emulated_cooperative() { return numCooperative; }
// What another library of the device does on the stream.
void emulated_enqueue(void (*run)(void*), void* data) {
  enqueue([=] { run(data); });
}

static int multiprocessors() {
  return getenv("EMULATED_MULTIPROCESSORS") ? atoi(getenv("EMULATED_MULTIPROCESSORS")) : 4;
}
static int deviceCount() { return getenv("EMULATED_DEVICES") ? atoi(getenv("EMULATED_DEVICES")) : 1; }

int cuInit(unsigned) { return getenv("EMULATED_NO_DEVICE") ? 100 : 0; }
int cuDriverGetVersion(int* v) { return *v = getenv("EMULATED_VERSION") ? atoi(getenv("EMULATED_VERSION")) : 13000, 0; }
int cuDeviceGetCount(int* n) { return *n = deviceCount(), 0; }
int cuDeviceGet(int* d, int ordinal) { return *d = ordinal, ordinal < deviceCount() ? 0 : 101; }
int cuDeviceTotalMem_v2(size_t* n, int) { return *n = most, 0; }
int cuDeviceGetName(char* name, int length, int) { return snprintf(name, length, "the host's C++"), 0; }
int cuDeviceGetAttribute(int* v, int attribute, int) {
  const int capability = getenv("EMULATED_CAPABILITY") ? atoi(getenv("EMULATED_CAPABILITY")) : 80;
  if (attribute == 97) return *v = getenv("EMULATED_SHARED_BYTES") ? atoi(getenv("EMULATED_SHARED_BYTES")) : 99 * 1024, 0;
  return *v = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? multiprocessors() : attribute == 95, 0;
}
int cuDevicePrimaryCtxRetain(Handle* c, int) { return *c = 1, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(Handle) { return 0; }
int cuMemGetInfo_v2(size_t* free, size_t* total) { return *free = most - used, *total = most, 0; }
int cuMemAlloc_v2(Handle* p, size_t n) {
  CHECKED
  if (used + n > most) return OUT_OF_MEMORY;
  void* memory = aligned_alloc(256, (n + 255) / 256 * 256);
  // Nothing may rely on memory that was not written.
  memset(memory, 0xff, n);
  *p = (Handle)memory;
  allocations[*p] = n;
  used += n;
  return 0;
}
int cuMemFree_v2(Handle p) {
  finish();
  used -= allocations[p];
  allocations.erase(p);
  free((void*)p);
  return 0;
}
int cuMemHostAlloc(void** p, size_t n, unsigned) { return *p = aligned_alloc(256, (n + 255) / 256 * 256), 0; }
int cuMemFreeHost(void* p) { return finish(), free(p), 0; }
int cuMemcpyHtoDAsync_v2(Handle d, const void* h, size_t n, Handle on) {
  CHECKED
  auto bytes = std::make_shared<std::vector<char>>((const char*)h, (const char*)h + n);
  return enqueue([=] { memcpy((void*)d, bytes->data(), n); }, on), 0;
}
int cuMemcpyDtoHAsync_v2(void* h, Handle d, size_t n, Handle) {
  CHECKED
  return enqueue([=] { memcpy(h, (void*)d, n); }), 0;
}
int cuMemcpyDtoDAsync_v2(Handle d, Handle s, size_t n, Handle) {
  CHECKED
  return enqueue([=] { memmove((void*)d, (void*)s, n); }), 0;
}
int cuMemsetD8Async(Handle d, unsigned char v, size_t n, Handle on) {
  CHECKED
  return enqueue([=] { memset((void*)d, v, n); }, on), 0;
}
int cuStreamCreate(Handle* s, unsigned) { return *s = ++lastStream, 0; }
int cuStreamDestroy_v2(Handle) { return 0; }
int cuStreamSynchronize(Handle) { return finish(), failed(); }
int cuStreamBeginCapture_v2(Handle s, int) { return capturedStream = s, capturing = new Graph, 0; }
int cuStreamEndCapture(Handle, Handle* g) { return *g = (Handle)capturing, capturing = nullptr, 0; }
int cuGraphInstantiateWithFlags(Handle* e, Handle g, unsigned long long) { return *e = (Handle) new Graph(*(Graph*)g), 0; }
int cuGraphLaunch(Handle e, Handle) {
  CHECKED
  return enqueue([=] {
           for (auto& work : *(Graph*)e) work();
         }),
         0;
}
int cuGraphDestroy(Handle g) { return delete (Graph*)g, 0; }
// One that is running ends first, and the call does not wait for it.
int cuGraphExecDestroy(Handle e) {
  return enqueue([=] { delete (Graph*)e; }), 0;
}
int cuEventCreate(Handle* e, unsigned) { return *e = (Handle) new uint64_t(0), 0; }
int cuEventDestroy_v2(Handle e) { return delete (uint64_t*)e, 0; }
int cuEventRecord(Handle e, Handle) {
  if (stream()) *(uint64_t*)e = stream()->given;
  return failed();
}
int cuEventQuery(Handle e) {
  if (int code = failed()) return code;
  if (!stream()) return 0;
  std::lock_guard<std::mutex> lock(stream()->mutex);
  return stream()->done >= *(uint64_t*)e ? 0 : NOT_READY;
}
int cuEventElapsedTime_v2(float* ms, Handle, Handle) { return *ms = 0, 0; }
int cuEventElapsedTime(float* ms, Handle, Handle) { return *ms = 0, 0; }
int cuGetErrorName(int code, const char** name) { return *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR", 0; }
int cuGetErrorString(int, const char** text) { return *text = "what the emulator was asked for", 0; }
int cuModuleLoadData(Handle* m, const void*) { return *m = 4, 0; }
int cuModuleUnload(Handle) { return 0; }
int cuModuleGetFunction(Handle* f, Handle, const char* name) {
  return (*f = (Handle)own(name)) ? 0 : NOT_FOUND;
}
int cuFuncSetAttribute(Handle, int, int) { return 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* count, Handle, int, size_t) { return *count = 1, 0; }
static int launch(Handle f, const unsigned* grid, void** kernelParams, bool isTogether) {
  CHECKED
  const unsigned gx = grid[0], gy = grid[1], gz = grid[2], bx = grid[3], by = grid[4], bz = grid[5];
  if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || bx * by * bz > 1024) return INVALID_VALUE;
  if (isTogether && gx * gy * gz > (unsigned)multiprocessors()) return TOO_LARGE;
  Parameters parameters;
  memcpy(parameters.bytes, kernelParams[0], sizeof parameters.bytes);
  enqueue([=] {
    gridDim = {gx, gy, gz};
    blockDim = {bx, by, bz};
    for (unsigned i = 0; i < bx * by * bz; i++) threads[i] = {i % bx, i / bx % by, i / bx / by};
    std::function<void()> run = [=] { ((Kernel)f)(parameters); };
    numCooperative += isTogether;
    runGrid(run, isTogether ? (size_t)gx * gy * gz : 1);
  });
  return 0;
}
int cuLaunchKernel(Handle f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, Handle,
                   void** kernelParams, void**) {
  const unsigned grid[6] = {gx, gy, gz, bx, by, bz};
  return launch(f, grid, kernelParams, false);
}
// Launches may overlap here, too, but don't. The blocks of a cooperative one run at the same time.
int cuLaunchKernelEx(const unsigned* config, Handle f, void** kernelParams, void**) {
  const unsigned *attribute = *(const unsigned**)(config + 10), count = config[12];
  const bool overlaps = attribute[0] == 6, isTogether = attribute[0] == 2;
  if (count != 1 || (!overlaps && !isTogether) || attribute[2] != 1) return INVALID_VALUE;
  return launch(f, config, kernelParams, isTogether);
}
}
