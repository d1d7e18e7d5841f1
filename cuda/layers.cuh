// One row through all layers of a Mamba-2 model in one launch, and through its head, for weights of FORMAT, float16 or bfloat16. It
// is compiled once for each. Results have the bits that the layers' kernels give one after another: see linear-halves.cu,
// norms.cuh, state-space.cuh.
//
// Blocks stay on their multiprocessors, and all of them run at a time: the launch is a cooperative one. Each has in every layer
// the same share of the channels of the mixer (their gates, their inputs and their rows of the state), of the rows of B, C and dt,
// and of the columns of the residual. Three times a layer blocks wait for numbers of others: residuals; B, C and dt; gated
// outputs. They come as exchange.cuh says. A block that reads them writes some that those after them need, so nothing is
// overwritten before all have read it.
//
// Weights do not depend on any of that: they come to a ring in shared memory, as far ahead as there is room, whatever layer they
// are of. A warp multiplies a slice of the inputs of all outputs. WeightCopies has each thread copy what it multiplies itself;
// WeightRows has the copy engine bring whole rows, from compute capability 9.0 on.
#pragma once
#include "exchange.cuh"
#include "halves.cuh"
#include "state-space.cuh"
#include "warpgroups.cuh"

// A layer's weights and states. The head has a norm and a product like a layer's first ones, and nothing else.
struct MambaLayerParams {
  const float* normWeight;
  const u8* inWeight;
  const float* convWeight;
  const float* convBias;
  float* convStates;
  const float* A;
  const float* D;
  const float* dtBias;
  float* states;
  const float* gatedNormWeight;
  const u8* outWeight;
};

struct MambaLayersParams {
  const MambaLayerParams* layers;
  const float* x;
  float* out;
  // The head's outputs, which are numOutputs; 0: there is no head, and no row for it after those of the layers.
  float* outputs;
  // Numbers with their tags, in the order of Exchange; and the tag that was last used.
  u64* exchange;
  u32* lastTag;
  const int* slots;
  long long inRowBytes;
  long long outRowBytes;
  long long convWeightStride;
  long long convStateStride;
  long long stateStride;
  int numLayers;
  int numOutputs;
  // Of WeightRows: slots of its ring and their bytes, rows of a slot, and slots that are multiplied together, of the in- and the
  // out-projection.
  int numSlots;
  int slotBytes;
  int inRows;
  int outRows;
  int inSlots;
  int outSlots;
  int hidden;
  int paddedHidden;
  int paddedInner;
  int numParts;
  int H;
  int P;
  int G;
  int normGroups;
  int normGroupSize;
  // What a block has room for: a multiple of 32 that is no less than its outputs of any product.
  int mostOutputs;
  int convIsSilu;
  int hasConvBias;
  int hasD;
  int hasBias;
  int isSoftplus;
  float dtLow;
  float dtHigh;
  float normEps;
  float gatedNormCount;
  float gatedNormEps;
};

// Columns of a state, of which each lane has four.
#define STATE_COLUMNS 128
#define OWN_COLUMNS 4
// Channels that a block has at most.
#define MOST_CHANNELS (8 * SLICES)
// Groups of the gated norm at most.
#define MOST_NORM_GROUPS 8
// Where a block's part of some things begins, or where the part before it ends.
static __device__ __forceinline__ int begin_of(int count, int block) { return (int)((u32)count * (u32)block / gridDim.x); }

// What a block has of every layer.
struct Part {
  // Channels of the mixer, rows of [B | C | dt], and columns of the residual: the first, and how many.
  int channel, channels, extra, extras, column, columns;
  // Outputs of the in-projection: of those rows, of the channels' inputs, of their gates. Outputs of the head: the first, and how
  // many.
  int outputs, ofHead, outputsOfHead;

  __device__ __forceinline__ Part(const MambaLayersParams& p) {
    const int block = blockIdx.x, inner = p.H * p.P, rows = 2 * p.G * STATE_COLUMNS + p.H;
    channel = begin_of(inner, block), channels = begin_of(inner, block + 1) - channel;
    extra = begin_of(rows, block), extras = begin_of(rows, block + 1) - extra;
    column = begin_of(p.hidden, block), columns = begin_of(p.hidden, block + 1) - column;
    outputs = extras + 2 * channels;
    ofHead = begin_of(p.numOutputs, block), outputsOfHead = begin_of(p.numOutputs, block + 1) - ofHead;
  }

  // The row of the in-projection that makes output i. Its rows are [gates | inputs | B | C | dt].
  __device__ __forceinline__ int row_of(int i, int inner) const {
    if (i < extras) return 2 * inner + extra + i;
    return i < extras + channels ? inner + channel + i - extras : channel + i - extras - channels;
  }
};

// Where the numbers that blocks exchange lie.
struct Exchange {
  u64 *residual, *extras, *gated;

  __device__ __forceinline__ Exchange(const MambaLayersParams& p) {
    residual = p.exchange;
    extras = residual + (p.hidden + 3) / 4 * 4;
    gated = extras + (2 * p.G * STATE_COLUMNS + p.H + 3) / 4 * 4;
  }
};

// What a block has in shared memory.
struct Room {
  // Of the weights.
  uint4* ring;
  u32* parts;
  // Of each slice the sums of all outputs.
  float* sums;
  // Of the block's channels.
  float *x, *gates;
  // B and C of up to two groups, and step and decay of each head.
  float* BC;
  float2* steps;
  // Of each warp, for each group of the gated norm: its squares' sum and its largest product of a channel and its weight.
  float *squares, *products;
  // The largest magnitude of each warp.
  float* mosts;
  MambaLayerParams* layers;

  __device__ __forceinline__ Room(const MambaLayersParams& p, uint4* shared, int ringBytes) {
    ring = shared;
    parts = (u32*)(ring + ringBytes / 16);
    sums = (float*)(parts + (p.paddedInner > p.paddedHidden ? p.paddedInner : p.paddedHidden));
    x = sums + SLICES * p.mostOutputs;
    gates = x + MOST_CHANNELS;
    BC = gates + MOST_CHANNELS;
    steps = (float2*)(BC + 4 * STATE_COLUMNS);
    squares = (float*)(steps + MOST_CHANNELS);
    products = squares + MOST_NORM_GROUPS * SLICES;
    mosts = products + MOST_NORM_GROUPS * SLICES;
    layers = (MambaLayerParams*)(mosts + SLICES);
  }
};

// What differs by format is seen in its own unit only: tests link those of all formats together.
namespace {

// A warp's copies of the weights that it multiplies: of all layers and the head, of both products, of some outputs at a time. Lanes
// copy what they multiply themselves, so that nothing waits for other lanes.
template <int STAGES>
struct WeightCopies {
  // Threads have states in registers a layer before.
  static const bool KEEPS_STATES = true;
  // Outputs whose weights the warps multiply at a time. A step is of 32 inputs of a slice of all of them, and takes so many pieces
  // in a warp's ring.
  static const int STEP_OUTPUTS = 32, STEP_PIECES = 128;

  const MambaLayersParams& p;
  const Part& part;
  const MambaLayerParams* layers;
  // The lane's first piece of the ring, and the steps in it that are copied to and multiplied next.
  uint4* ring;
  int stage = 0, nextStage = 0;
  // With the head.
  const int numLayers;
  int layer = 0, first = 0, left = 0, eight = 0, eights = 0;
  bool isOut = false;
  // The lane's pieces: of the first inputs of outputs g, g + 8, g + 16 and g + 24. Null: there is no such output.
  const u8* rows[4];

  static __device__ __forceinline__ int bytes(const MambaLayersParams&) { return STAGES * SLICES * STEP_PIECES * 16; }

  __device__ __forceinline__ WeightCopies(const MambaLayersParams& p, const Part& part, const Room& room)
      : p(p), part(part), layers(room.layers), ring(room.ring + threadIdx.x / 32 * STAGES * STEP_PIECES + threadIdx.x % 32),
        numLayers(p.numLayers + (p.numOutputs > 0)) {
    begin_rows();
#pragma unroll 1
    for (int step = 0; step < STAGES - 1; step++) copy_next();
  }

  __device__ __forceinline__ int numRows() const {
    if (layer < p.numLayers) return isOut ? part.columns : part.outputs;
    return isOut ? 0 : part.outputsOfHead;
  }

  __device__ __forceinline__ void begin_rows() {
    const int slice = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, inner = p.H * p.P;
    const int count = numRows(), padded = isOut ? p.paddedInner : p.paddedHidden;
    eights = ((isOut ? inner : p.hidden) + 7) / 8;
    left = first < count ? steps_of(slice, padded) : 0;
    eight = slice * slice_steps(padded) * 4 + t;
    const u8* weight = device_pointer(isOut ? layers[layer].outWeight : layers[layer].inWeight);
    const long long rowBytes = isOut ? p.outRowBytes : p.inRowBytes;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int output = first + 8 * i + g;
      const int row = isOut                  ? part.column + output
                      : layer == p.numLayers ? part.ofHead + output
                                             : part.row_of(output, inner);
      rows[i] = output < count ? weight + row * rowBytes : nullptr;
    }
  }

  // Finds the rows of the next step, if it is not of the same ones. It may be called early, while nothing waits.
  __device__ __forceinline__ void find_next() {
#pragma unroll 1
    while (left == 0 && layer < numLayers) {
      first += STEP_OUTPUTS;
      if (first >= numRows()) {
        first = 0;
        layer += isOut;
        isOut = !isOut;
      }
      if (layer < numLayers) begin_rows();
    }
  }

  // Copies what the next step takes, if there is one: a group of copies in any case.
  __device__ __forceinline__ void copy_next() {
    find_next();
    if (left > 0) {
      const bool isInside = eight < eights;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (rows[i]) copy_early(ring + stage * STEP_PIECES + 32 * i, rows[i] + (isInside ? 16ll * eight : 0), isInside);
      }
      eight += 4, left--;
    }
    group_copies();
    stage = stage + 1 == STAGES ? 0 : stage + 1;
  }

  // The products of a slice of a row, in parts, and `count` outputs of a layer's in- or out-projection or of the head, whose sums
  // go to `sums`, for all threads to see. Sums are those of linear_few.
  __device__ __forceinline__ void multiply(const uint4* row, bool isOut, int count, float* sums) {
    const int slice = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int padded = isOut ? p.paddedInner : p.paddedHidden;
    const int begin = slice * slice_steps(padded) * 4 + t, steps = steps_of(slice, padded);
#pragma unroll 1
    for (int first = 0; first < count; first += STEP_OUTPUTS) {
      float all[2][1][4] = {};
      uint4 low[2], high[2], parts[1][2];
      auto load = [&](int step) {
        const uint4* from = ring + nextStage * STEP_PIECES;
        const uint4* both = row + 2 * (begin + 4 * step);
        low[0] = from[0], high[0] = from[32], low[1] = from[64], high[1] = from[96];
        parts[0][0] = both[0], parts[0][1] = both[1];
        nextStage = nextStage + 1 == STAGES ? 0 : nextStage + 1;
      };
      wait_copies<STAGES - 2>();
      if (steps > 0) load(0);
      // What the next step takes is loaded while this one is multiplied, before the place of the last one is copied to.
#pragma unroll 1
      for (int step = 0; step < steps; step++) {
        const uint4 ownLow[2] = {low[0], low[1]}, ownHigh[2] = {high[0], high[1]};
        uint4 ownParts[1][2] = {{parts[0][0], parts[0][1]}};
        if (step + 1 < steps) {
          wait_copies<STAGES - 3>();
          load(step + 1);
        }
        add_inputs<2, 1>(all, ownLow, ownHigh, ownParts, p.numParts);
        copy_next();
      }
      if (t == 0) {
        sums[first + g] = all[0][0][0], sums[first + g + 8] = all[0][0][2];
        sums[first + g + 16] = all[1][0][0], sums[first + g + 24] = all[1][0][2];
      }
    }
    __syncthreads();
  }
};

// Whole rows of weights, which the copy engine brings to the slots of a ring: of all layers and the head, of both products, in the
// order in which they are multiplied.
struct WeightRows {
  // States are only brought near a layer before: registers would not hold them, too, and what threads spill goes far, since the
  // ring leaves the cache next to no room.
  static const bool KEEPS_STATES = false;
  // Slots at most.
  static const int MOST_SLOTS = 32;

  const MambaLayersParams& p;
  const Part& part;
  const MambaLayerParams* layers;
  u8* slots;
  CopyBarrier* barriers;
  // With the head.
  const int numLayers;
  // The slot that is multiplied next, and how often the ring has gone round before.
  int slot = 0, turn = 0;
  // What is copied next, and the slot that it comes to.
  int layer = 0, first = 0, to = 0;
  bool isOut = false;

  static __device__ __forceinline__ int bytes(const MambaLayersParams& p) {
    return p.numSlots * p.slotBytes + MOST_SLOTS * (int)sizeof(CopyBarrier);
  }

  __device__ __forceinline__ WeightRows(const MambaLayersParams& p, const Part& part, const Room& room)
      : p(p), part(part), layers(room.layers), slots((u8*)room.ring),
        barriers((CopyBarrier*)(slots + p.numSlots * p.slotBytes)), numLayers(p.numLayers + (p.numOutputs > 0)) {
    if (threadIdx.x == 0) {
      for (int i = 0; i < p.numSlots; i++) make_barrier(barriers + i, 1);
      show_barriers();
    }
    __syncthreads();
    if (count() == 0) begin_product();
    fill(p.numSlots);
  }

  // Rows of the product that is copied next.
  __device__ __forceinline__ int count() const {
    if (layer < p.numLayers) return isOut ? part.columns : part.outputs;
    return isOut ? 0 : part.outputsOfHead;
  }

  // The next product that has rows.
  __device__ __forceinline__ void begin_product() {
    first = 0;
    do {
      layer += isOut;
      isOut = !isOut;
    } while (layer < numLayers && count() == 0);
  }

  // Has slots filled that all warps have read: each by another warp, from the last one on, since the first ones have most to do
  // besides.
  __device__ __forceinline__ void fill(int numSlots) {
    const int own = SLICES - 1 - (int)threadIdx.x / 32;
#pragma unroll 1
    for (int i = 0; i < numSlots && layer < numLayers; i++) {
      if (i % SLICES == own) copy();
      to = to + 1 == p.numSlots ? 0 : to + 1;
      first += isOut ? p.outRows : p.inRows;
      if (first >= count()) begin_product();
    }
  }

  // Rows lie in a slot one after another. Each lane asks for some that are neighbours in the matrix, too.
  __device__ __forceinline__ void copy() const {
    const int all = count(), inner = p.H * p.P, lane = threadIdx.x % 32;
    const int most = isOut ? p.outRows : p.inRows, rows = all - first < most ? all - first : most;
    const int bytes = 2 * (isOut ? inner : p.hidden);
    CopyBarrier* barrier = barriers + to;
    if (lane == 0) arrive_expecting(barrier, rows * bytes);
    __syncwarp();
    // Outputs of an in-projection are of three places: see Part.
    const bool isIn = !isOut && layer < p.numLayers;
    const int gates = part.extras + part.channels;
    const int low = lane == 0 ? 0 : lane == 1 ? part.extras : gates;
    const int high = !isIn || lane == 2 ? all : lane == 0 ? part.extras : gates;
    const int from = first > low ? first : low, until = first + rows < high ? first + rows : high;
    if (lane >= (isIn ? 3 : 1) || from >= until) return;
    const int row = isOut ? part.column + from : isIn ? part.row_of(from, inner) : part.ofHead + from;
    const u8* weight = device_pointer(isOut ? layers[layer].outWeight : layers[layer].inWeight);
    u8* place = slots + to * p.slotBytes + (from - first) * bytes;
    copy_piece((uint4*)place, weight + (long long)row * bytes, (until - from) * bytes, barrier);
  }

  // The slot `i` after the next one.
  __device__ __forceinline__ const u8* slot_after(int i) const {
    const int at = slot + i;
    return slots + (at < p.numSlots ? at : at - p.numSlots) * p.slotBytes;
  }
  // Waits until it has come.
  __device__ __forceinline__ void wait(int i) const {
    const int at = slot + i;
    if (at < p.numSlots) wait_for_all(barriers + at, turn);
    else wait_for_all(barriers + at - p.numSlots, turn + 1);
  }

  // All warps have read so many slots.
  __device__ __forceinline__ void leave(int numSlots) {
    slot += numSlots;
    if (slot >= p.numSlots) slot -= p.numSlots, turn++;
    fill(numSlots);
  }

  // Slots were filled when they were left.
  __device__ __forceinline__ void find_next() {}

  // As WeightCopies does.
  __device__ __forceinline__ void multiply(const uint4* row, bool isOut, int count, float* sums) {
    const int slice = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int K = isOut ? p.H * p.P : p.hidden, rowBytes = 2 * K;
    const int rowsOfSlot = isOut ? p.outRows : p.inRows, most = rowsOfSlot * (isOut ? p.outSlots : p.inSlots);
    const int begin = slice * slice_steps(K) * 4 + t, steps = steps_of(slice, K);
    row += 2 * begin;
#pragma unroll 1
    for (int first = 0; first < count;) {
      const int rows = count - first < most ? count - first : most, numSlots = (rows + rowsOfSlot - 1) / rowsOfSlot;
#pragma unroll 1
      for (int i = 0; i < numSlots; i++) wait(i);
      // Of outputs that there are none of come the weights of the first one, and no sums.
      const int own = g < rows ? g : 0, other = g + 8 < rows ? g + 8 : 0;
      const uint4* lows = (const uint4*)(slot_after(own / rowsOfSlot) + own % rowsOfSlot * rowBytes) + begin;
      const uint4* highs = (const uint4*)(slot_after(other / rowsOfSlot) + other % rowsOfSlot * rowBytes) + begin;
      float all[1][1][4] = {};
#pragma unroll 4
      for (int step = 0; step < steps; step++) {
        uint4 parts[1][2] = {{row[8 * step], row[8 * step + 1]}};
        const uint4 low = lows[4 * step], high = highs[4 * step];
        add_inputs<1, 1>(all, &low, &high, parts, p.numParts);
      }
      if (t == 0) {
        if (g < rows) sums[first + g] = all[0][0][0];
        if (g + 8 < rows) sums[first + g + 8] = all[0][0][2];
      }
      __syncthreads();
      leave(numSlots);
      first += rows;
    }
  }
};

}  // namespace

// An output of which all slices have been summed.
static __device__ __forceinline__ float sum_of_slices(const float* sums, int mostOutputs, float factor) {
  float total = sums[0];
#pragma unroll
  for (int s = 1; s < SLICES; s++) total += sums[s * mostOutputs];
  return __fmul_rn(total, factor);
}

// What a thread loads of a channel that it convolves, some time before.
struct Convolved {
  float bias = 0, taps[4], past[3];
  float* state = nullptr;

  __device__ __forceinline__ void load(const MambaLayersParams& p, const MambaLayerParams& layer, int c, int slot) {
    if (c < 0 || slot < 0) return;
    state = device_pointer(layer.convStates) + slot * p.convStateStride + 3ll * c;
    if (p.hasConvBias) bias = device_pointer(layer.convBias)[c];
#pragma unroll
    for (int w = 0; w < 4; w++) taps[w] = device_pointer(layer.convWeight)[c * p.convWeightStride + w];
#pragma unroll
    for (int w = 0; w < 3; w++) past[w] = state[w];
  }
};

static __device__ __forceinline__ float most_of(float most, const float* v, const float* weight) {
  const float products[4] = {v[0] * weight[0], v[1] * weight[1], v[2] * weight[2], v[3] * weight[3]};
  return fmaxf(most, magnitude_of(products));
}

// Each warp's sum of squares and largest product go to shared memory.
static __device__ __forceinline__ void put_warp(float squares, float product, float* allSquares, float* allProducts) {
  const float sum = warp_sum(squares), most = warp_max(product);
  if (threadIdx.x % 32 == 0) allSquares[threadIdx.x / 32] = sum, allProducts[threadIdx.x / 32] = most;
}

// After a barrier: the sum over the warps, in their order; and `most`, or the largest product times the inverse root of the mean.
static __device__ __forceinline__ float root_of_warps(
    const float* squares, const float* products, float count, float eps, float& most) {
  float sum = 0, product = 0;
#pragma unroll
  for (int w = 0; w < SLICES; w++) sum += squares[w], product = fmaxf(product, products[w]);
  const float inverseRoot = inverse_root(sum, count, eps);
  most = fmaxf(most, product * inverseRoot);
  return inverseRoot;
}

// The parts in shared memory of a row whose quads threads have, and their factor. A factor is a power of two, so the largest of
// the normed values need not be known: `most` is that but for some roundings. Where these might count, threads look for it.
template <int QUADS>
static __device__ __forceinline__ float put_row(
    u32* words, const int* columns, float (*v)[4], float most, int C, int padded, float* mosts) {
  const int isFloat16 = FORMAT == FLOAT16;
  const Parts parts = {words, -1};
  const u32 fraction = __float_as_uint(most) & 0x7fffffu;
  if (isFloat16 && !(most > 1e-3f && most < 1e30f && fraction > 16 && fraction < 0x7fffffu - 16)) {
    float own = 0;
#pragma unroll
    for (int q = 0; q < QUADS; q++) {
      if (columns[q] >= 0) own = fmaxf(own, magnitude_of(v[q]));
    }
    most = block_max_once(own, mosts);
  }
  const float factor = isFloat16 ? split_factor(most) : 1.0f;
  const float inverse = 1.0f / factor;
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    if (columns[q] >= 0) put_parts(parts, columns[q], v[q], inverse, isFloat16);
  }
  put_padding(parts, C, padded);
  __syncthreads();
  return factor;
}

template <int QUADS>
static __device__ __forceinline__ void load_norm_weights(const float* weight, const int* columns, float (*v)[4]) {
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    if (columns[q] < 0) continue;
    const float4 w = *(const float4*)(device_pointer(weight) + columns[q]);
    v[q][0] = w.x, v[q][1] = w.y, v[q][2] = w.z, v[q][3] = w.w;
  }
}

static __device__ __forceinline__ float square_sum(float sum, const float* v) {
#pragma unroll
  for (int i = 0; i < 4; i++) sum = fmaf(v[i], v[i], sum);
  return sum;
}

// Sums over the warp of some values of each lane: lane l gets that of value l / 4. Lanes are added in one order.
template <int COUNT>
static __device__ __forceinline__ float sum_of_row(const float* y) {
  float v[8];
#pragma unroll
  for (int r = 0; r < 8; r++) v[r] = r < COUNT ? y[r] : 0.0f;
  if (COUNT > 2) return sums_of_8(v);
  const float first = warp_sum(v[0]), second = warp_sum(v[1]);
  return threadIdx.x % 32 < 4 ? first : second;
}

// Weights come as Weights brings them. A thread has up to HIDDEN_QUADS quads of the residual, and INNER_QUADS of the mixer's
// channels; a warp OWN_ROWS of a state.
template <class Weights, int HIDDEN_QUADS, int INNER_QUADS, int OWN_ROWS>
static __device__ __forceinline__ void mamba_layers(const MambaLayersParams& p) {
  SHARED_BY_LAUNCH(shared);
  const Part part(p);
  const Exchange exchange(p);
  const Room room(p, shared, Weights::bytes(p));
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int inner = p.H * p.P, groupColumns = p.G * STATE_COLUMNS, headsPerGroup = p.H / p.G;
  const int slot = p.slots ? p.slots[0] : 0;
  const u32 base = *p.lastTag;
  const int numLayers = p.numLayers + (p.numOutputs > 0);
  for (int i = thread; i < numLayers * (int)(sizeof(MambaLayerParams) / 8); i += ROW_THREADS) {
    ((u64*)room.layers)[i] = ((const u64*)p.layers)[i];
  }
  // Outputs of slices without inputs stay zero.
  for (int i = thread; i < SLICES * p.mostOutputs; i += ROW_THREADS) room.sums[i] = 0;
  __syncthreads();
  Weights weights(p, part, room);
  float* sums = room.sums + warp * p.mostOutputs;

  // The thread's channel of the convolution, if its output of the in-projection is one.
  const int row = part.row_of(thread, inner) - inner;
  const int convolved = thread < part.outputs && row >= 0 && row < inner + 2 * groupColumns ? row : -1;
  // The block's heads and groups; heads and groups of a warp's rows of the state, 4 bits each.
  const int firstHead = part.channel / p.P, firstGroup = firstHead / headsPerGroup;
  const int heads = part.channels > 0 ? (part.channel + part.channels - 1) / p.P - firstHead + 1 : 0;
  const bool hasSecondGroup = part.channels > 0 && (firstHead + heads - 1) / headsPerGroup > firstGroup;
  u32 rowHeads = 0, rowGroups = 0;
#pragma unroll
  for (int r = 0; r < OWN_ROWS; r++) {
    const int h = (part.channel + warp + SLICES * r) / p.P;
    rowHeads |= (u32)(h - firstHead & 15) << (4 * r);
    rowGroups |= (u32)(h / headsPerGroup - firstGroup & 15) << (4 * r);
  }
  // The row whose output the lane has: of eight rows or fewer, lane 4 r has that of row r.
  const int ownRow = warp + SLICES * (lane / 4), ownHead = (part.channel + ownRow) / p.P;
  const bool isOwn = lane / 4 < OWN_ROWS && ownRow < part.channels;
  int hiddenColumns[HIDDEN_QUADS], innerColumns[INNER_QUADS];
#pragma unroll
  for (int q = 0; q < HIDDEN_QUADS; q++) {
    const int c = 4 * (thread + ROW_THREADS * q);
    hiddenColumns[q] = c < p.hidden ? c : -1;
  }
  // Of each group a thread has as many quads.
  const int perGroup = (p.normGroupSize + 4 * ROW_THREADS - 1) / (4 * ROW_THREADS);
#pragma unroll
  for (int q = 0, group = 0, within = 0; q < INNER_QUADS; q++) {
    const int c = 4 * (thread + ROW_THREADS * within);
    innerColumns[q] = group < p.normGroups && c < p.normGroupSize ? group * p.normGroupSize + c : -1;
    if (++within == perGroup) within = 0, group++;
  }

  // What the next layer needs is loaded before this one has ended.
  Convolved own;
  float state[OWN_ROWS][OWN_COLUMNS], A = 0, dtBias = 0, D = 0;
  auto load_channel = [&](const MambaLayerParams& layer) { own.load(p, layer, convolved, slot); };
  auto load_state = [&](const MambaLayerParams& layer) {
    const float* states = device_pointer(layer.states) + slot * p.stateStride;
#pragma unroll
    for (int r = 0; r < OWN_ROWS; r++) {
      const int i = warp + SLICES * r;
#pragma unroll
      for (int n = 0; n < OWN_COLUMNS; n++) state[r][n] = 0;
      if (slot >= 0 && i < part.channels) {
        load_own<OWN_COLUMNS>(states + (long long)(part.channel + i) * STATE_COLUMNS, state[r]);
      }
    }
    if (thread < heads) {
      A = device_pointer(layer.A)[firstHead + thread];
      if (p.hasBias) dtBias = device_pointer(layer.dtBias)[firstHead + thread];
    }
    if (p.hasD && isOwn) D = device_pointer(layer.D)[ownHead];
  };
  auto fetch_state = [&](const MambaLayerParams& layer) {
    const float* states = layer.states + slot * p.stateStride + (long long)part.channel * STATE_COLUMNS;
    const int lines = slot >= 0 ? part.channels * STATE_COLUMNS / 32 : 0;
    for (int i = thread; i < lines; i += ROW_THREADS) fetch_early(states + 32 * i);
  };
  load_channel(room.layers[0]);
  if (Weights::KEEPS_STATES) load_state(room.layers[0]);
  float residual = thread < part.columns ? p.x[part.column + thread] : 0.0f;

#pragma unroll 1
  for (int l = 0; l < numLayers; l++) {
    const MambaLayerParams& layer = room.layers[l];
    const MambaLayerParams& next = room.layers[l + 1 < numLayers ? l + 1 : l];
    const bool isHead = l == p.numLayers, hasNext = l + 1 < p.numLayers;
    const int outputs = isHead ? part.outputsOfHead : part.outputs;
    const u32 tag = base + 1 + l;

    // The in-projection of the normed residual, with the convolution of its channels; or the head.
    if (outputs > 0) {
      float v[HIDDEN_QUADS][4], w[HIDDEN_QUADS][4], squares = 0, product = 0, most = 0;
      load_norm_weights<HIDDEN_QUADS>(layer.normWeight, hiddenColumns, w);
      if (l == 0) load_norm_weights<HIDDEN_QUADS>(p.x, hiddenColumns, v);
      else await_quads<HIDDEN_QUADS>(exchange.residual, hiddenColumns, tag - 1, v);
#pragma unroll
      for (int q = 0; q < HIDDEN_QUADS; q++) {
        if (hiddenColumns[q] < 0) continue;
        squares = square_sum(squares, v[q]);
        product = most_of(product, v[q], w[q]);
      }
      put_warp(squares, product, room.squares, room.products);
      __syncthreads();
      const float inverseRoot = root_of_warps(room.squares, room.products, (float)p.hidden, p.normEps, most);
#pragma unroll
      for (int q = 0; q < HIDDEN_QUADS; q++) {
        if (hiddenColumns[q] < 0) continue;
#pragma unroll
        for (int i = 0; i < 4; i++) v[q][i] = __fmul_rn(__fmul_rn(v[q][i], inverseRoot), w[q][i]);
      }
      const float factor =
          put_row<HIDDEN_QUADS>(room.parts, hiddenColumns, v, most, p.hidden, p.paddedHidden, room.mosts);
      weights.multiply((const uint4*)room.parts, false, outputs, sums);
      for (int i = thread; isHead && i < outputs; i += ROW_THREADS) {
        p.outputs[part.ofHead + i] = sum_of_slices(room.sums + i, p.mostOutputs, factor);
      }
      if (!isHead && thread < outputs) {
        float output = sum_of_slices(room.sums + thread, p.mostOutputs, factor);
        if (own.state && convolved >= 0) {
          output = convolve_four(own.taps, own.bias, own.past, own.state, output, p.convIsSilu);
        }
        if (thread < part.extras) put_tagged(exchange.extras + part.extra + thread, output, tag);
        else if (thread < part.extras + part.channels) room.x[thread - part.extras] = output;
        else room.gates[thread - part.extras - part.channels] = silu(output);
      }
      if (hasNext) load_channel(next);
      weights.find_next();
    }
    if (isHead) break;

    // The states of the block's channels, and their outputs with their gates.
    if (part.channels > 0) {
      const int half = thread / STATE_COLUMNS * groupColumns + thread % STATE_COLUMNS;
      const u64* groups = exchange.extras + half + firstGroup * STATE_COLUMNS;
      const u64* places[3] = {groups, hasSecondGroup ? groups + STATE_COLUMNS : nullptr,
                              thread < heads ? exchange.extras + 2 * groupColumns + firstHead + thread : nullptr};
      float found[3];
      if (!Weights::KEEPS_STATES) load_state(layer);
      await_each<3>(places, tag, found);
      room.BC[thread] = found[0];
      if (hasSecondGroup) room.BC[2 * STATE_COLUMNS + thread] = found[1];
      if (thread < heads) {
        const float delta = delta_with(p, found[2], dtBias);
        room.steps[thread] = make_float2(delta, decay_of(A, delta));
      }
      __syncthreads();
      float y[OWN_ROWS];
#pragma unroll
      for (int r = 0; r < OWN_ROWS; r++) {
        const int i = warp + SLICES * r;
        y[r] = 0;
        if (i >= part.channels) continue;
        const float* BC = room.BC + 2 * STATE_COLUMNS * (rowGroups >> (4 * r) & 15);
        const float2 step = room.steps[rowHeads >> (4 * r) & 15];
        float B[OWN_COLUMNS], C[OWN_COLUMNS];
        load_own<OWN_COLUMNS>(BC, B);
        load_own<OWN_COLUMNS>(BC + STATE_COLUMNS, C);
        const float dx = step.x * room.x[i];
#pragma unroll
        for (int n = 0; n < OWN_COLUMNS; n++) {
          state[r][n] = fmaf(step.y, state[r][n], dx * B[n]);
          y[r] = fmaf(state[r][n], C[n], y[r]);
        }
      }
      float output = sum_of_row<OWN_ROWS>(y);
      if (lane % 4 == 0 && isOwn) {
        if (p.hasD) output = fmaf(D, room.x[ownRow], output);
        put_tagged(exchange.gated + part.channel + ownRow, __fmul_rn(output, room.gates[ownRow]), tag);
      }
      // What nothing waits for comes after.
      float* states = device_pointer(layer.states) + slot * p.stateStride;
#pragma unroll
      for (int r = 0; r < OWN_ROWS; r++) {
        const int i = warp + SLICES * r;
        if (slot >= 0 && i < part.channels) {
          store_own<OWN_COLUMNS>(states + (long long)(part.channel + i) * STATE_COLUMNS, state[r]);
        }
      }
      if (hasNext && Weights::KEEPS_STATES) load_state(next);
      if (hasNext && !Weights::KEEPS_STATES) fetch_state(next);
      // Lines of weights of the next layer's norms, which all blocks read, come near.
      const int line = thread * gridDim.x + blockIdx.x, inNorm = (p.hidden + 31) / 32;
      if (line < inNorm) fetch_early(next.normWeight + 32 * line);
      else if (hasNext && line < inNorm + (inner + 31) / 32) fetch_early(next.gatedNormWeight + 32 * (line - inNorm));
    }

    // The out-projection of the normed outputs, with the residual.
    if (part.columns > 0) {
      float v[INNER_QUADS][4], w[INNER_QUADS][4], squares = 0, product = 0, most = 0, inverseRoot = 0;
      load_norm_weights<INNER_QUADS>(layer.gatedNormWeight, innerColumns, w);
      // Registers would not hold more than four quads with their tags.
      const int AT_ONCE = INNER_QUADS > 4 ? (INNER_QUADS + 1) / 2 : INNER_QUADS, OTHERS = INNER_QUADS - AT_ONCE;
      await_quads<AT_ONCE>(exchange.gated, innerColumns, tag, v);
      if constexpr (OTHERS > 0) await_quads<OTHERS>(exchange.gated, innerColumns + AT_ONCE, tag, v + AT_ONCE);
#pragma unroll
      for (int q = 0, group = 0, within = 0; q < INNER_QUADS; q++) {
        if (group >= p.normGroups) continue;
        if (innerColumns[q] >= 0) {
          squares = square_sum(squares, v[q]);
          product = most_of(product, v[q], w[q]);
        }
        if (++within < perGroup) continue;
        put_warp(squares, product, room.squares + group * SLICES, room.products + group * SLICES);
        squares = 0, product = 0, within = 0, group++;
      }
      __syncthreads();
#pragma unroll
      for (int q = 0, group = 0, within = 0; q < INNER_QUADS; q++) {
        if (group >= p.normGroups) continue;
        if (within == 0) {
          const float *squaresOfGroup = room.squares + group * SLICES, *productsOfGroup = room.products + group * SLICES;
          inverseRoot = root_of_warps(squaresOfGroup, productsOfGroup, p.gatedNormCount, p.gatedNormEps, most);
        }
        if (innerColumns[q] >= 0) {
#pragma unroll
          for (int i = 0; i < 4; i++) v[q][i] = __fmul_rn(__fmul_rn(v[q][i], inverseRoot), w[q][i]);
        }
        if (++within == perGroup) within = 0, group++;
      }
      const float factor = put_row<INNER_QUADS>(room.parts, innerColumns, v, most, inner, p.paddedInner, room.mosts);
      weights.multiply((const uint4*)room.parts, true, part.columns, sums);
      if (thread < part.columns) {
        residual = __fadd_rn(sum_of_slices(room.sums + thread, p.mostOutputs, factor), residual);
        if (l + 1 < numLayers) put_tagged(exchange.residual + part.column + thread, residual, tag);
        if (!hasNext) p.out[part.column + thread] = residual;
      }
      weights.find_next();
    }
  }
  // All blocks have read the first tag: what they made of it was needed until here.
  if (blockIdx.x == 0 && thread == 0) *p.lastTag = base + p.numLayers;
}
