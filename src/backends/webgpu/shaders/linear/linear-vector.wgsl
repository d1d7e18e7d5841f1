// y = norm(x) Wᵀ for $B rows together: the cost of one row is that of reading W.
//
// A workgroup makes $BLOCKING * $ROWS outputs of each row. 32 invocations read a patch of $ROWS rows of W, 8 neighbouring
// inputs each; $PARTS such patches side by side share the inputs, in order, and their sums are added at the end.
// The norm's division follows the product: y = Σ_groups (Σ_k x normWeight W) / sqrt(mean(x²) + eps).
// An invocation puts one result at most.
//
// x (B, K), weight (outputs, K), normWeight (K) → out (B, outputs) + residual
#if CONV
// Outputs from convBegin on, C of them, are the inputs of causal convolutions (4 taps) with a state of 3: the convolved and
// activated value goes to convolved (B, C). A row whose slot is negative passes through.
#endif
// Grid: (outputs / (BLOCKING * ROWS)).

#if SUBGROUPS
enable subgroups;

#endif
struct Fixed {
  firstOutput: u32,
  xOffset: u32,
  xStride: u32,
  outOffset: u32,
  outStride: u32,
  eps: f32,
#if NORM
  normOffset: u32,
#endif
#if RESIDUAL
  residualOffset: u32,
  residualStride: u32,
#endif
#if BIAS
  biasOffset: u32,
#endif
#if CONV
  convBegin: u32,
#include "convolution-places"
#endif
}

const fixed = Fixed();
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#if NORM
@group(0) @binding(4) var<storage, read> normWeight: array<vec4f>;
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<f32>;
#endif
#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;
#endif
#if CONV
@group(0) @binding(5) var<storage, read> convWeight: array<vec4f>;
@group(0) @binding(6) var<storage, read> convBias: array<f32>;
@group(0) @binding(7) var<storage, read> slots: array<i32>;
@group(0) @binding(8) var<storage, read_write> convStates: array<f32>;
@group(0) @binding(9) var<storage, read_write> convolved: array<f32>;
#endif

const OUTPUTS = ${OUTPUTS}u;                // of this buffer
const EIGHTS = $K / 8u;                     // of a row
const B = ${B}u;
const ROWS = ${ROWS}u;
const BLOCKING = ${BLOCKING}u;              // patches one below the other
const PARTS = ${PARTS}u;
const GROUPS = ${GROUPS}u;                  // of the norm
const AHEAD = ${AHEAD}u;                    // loads of W that wait together
const ACROSS = 32u / ROWS;                  // eights in a patch
const STEPS = (EIGHTS + PARTS * ACROSS - 1) / (PARTS * ACROSS);
#if SUBGROUPS
const SUMS = PARTS;                         // of one output
#else
const SUMS = PARTS * ACROSS;
#endif
const THREADS = PARTS * 32u;

var<workgroup> partial: array<f32, BLOCKING * ROWS * B * SUMS>;
#if NORM
var<workgroup> squares: array<f32, B * SUMS>;
#endif

const ROW_WORDS = ${ROW_WORDS}u;
#include "eights-$DTYPE"

#if CONV
#include "convolve"
#endif

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let part = i / 32;
  let r = i % 32 / ACROSS;
  let across = i % ACROSS;
  let row0 = group.x * (BLOCKING * ROWS);
  let first = part * STEPS * ACROSS + across;
  const x0 = fixed.xOffset / 4;
  const stride = fixed.xStride / 4;
  // What becomes of an invocation's own result, if it has one: what that reads comes while the sum is made.
  let ownB = i % B;
  let isPut = i < BLOCKING * ROWS * B && row0 + i / B < OUTPUTS;
  let column = fixed.firstOutput + row0 + i / B;
#if RESIDUAL
  var before = 0.0;
  if (isPut) { before = residual[fixed.residualOffset + ownB * fixed.residualStride + column]; }
#endif
#if CONV
  let isConvolved = isPut && column >= fixed.convBegin && column < fixed.convBegin + fixed.C;
  var before: Before;
  if (isConvolved) { before = beforeConvolution(ownB, column - fixed.convBegin); }
#endif
  var sums: array<array<f32, B>, BLOCKING>;
#if NORM
  var square: array<f32, B>;
  const norm0 = fixed.normOffset / 4;
#endif
  for (var s = 0u; s < STEPS; s += AHEAD) {
    var packed: array<array<Packed, AHEAD>, BLOCKING>;
    for (var tile = 0u; tile < BLOCKING; tile++) {
#if RAGGED
      let row = min(row0 + tile * ROWS + r, OUTPUTS - 1);
#else
      let row = row0 + tile * ROWS + r;
#endif
      for (var ahead = 0u; ahead < AHEAD; ahead++) {
#if PARTIAL
        packed[tile][ahead] = loadEight(row, min(first + (s + ahead) * ACROSS, EIGHTS - 1));
#else
        packed[tile][ahead] = loadEight(row, first + (s + ahead) * ACROSS);
#endif
      }
    }
    for (var ahead = 0u; ahead < AHEAD; ahead++) {
      let k = 2 * (first + (s + ahead) * ACROSS);
#if PARTIAL
      if (k >= 2 * EIGHTS) { continue; }
#endif
#if NORM
      let w0 = normWeight[norm0 + k];
      let w1 = normWeight[norm0 + k + 1];
#endif
      for (var b = 0u; b < B; b++) {
        var a0 = x[x0 + b * stride + k];
        var a1 = x[x0 + b * stride + k + 1];
#if NORM
        square[b] += dot(a0, a0) + dot(a1, a1);
        a0 *= w0;
        a1 *= w1;
#endif
        for (var tile = 0u; tile < BLOCKING; tile++) {
          let eight = packed[tile][ahead];
          sums[tile][b] += dot(firstFour(eight), a0) + dot(lastFour(eight), a1);
        }
      }
    }
  }
#if SUBGROUPS
  for (var half = ACROSS / 2; half > 0; half /= 2) {
    for (var b = 0u; b < B; b++) {
      for (var tile = 0u; tile < BLOCKING; tile++) { sums[tile][b] += subgroupShuffleXor(sums[tile][b], half); }
#if NORM
      square[b] += subgroupShuffleXor(square[b], half);
#endif
    }
  }
  let own = part;
  let isOne = across == 0;
#else
  let own = part * ACROSS + across;
  const isOne = true;
#endif
  if (isOne) {
    for (var b = 0u; b < B; b++) {
      for (var tile = 0u; tile < BLOCKING; tile++) { partial[((tile * ROWS + r) * B + b) * SUMS + own] = sums[tile][b]; }
#if NORM
      if (r == 0) { squares[b * SUMS + own] = square[b]; }
#endif
    }
  }
  workgroupBarrier();

  if (!isPut) { return; }
  var y = 0.0;
  for (var g = 0u; g < GROUPS; g++) {
    var sum = 0.0;
    for (var j = 0u; j < SUMS / GROUPS; j++) { sum += partial[i * SUMS + g * (SUMS / GROUPS) + j]; }
#if NORM
    var squareSum = 0.0;
    for (var j = 0u; j < SUMS / GROUPS; j++) { squareSum += squares[ownB * SUMS + g * (SUMS / GROUPS) + j]; }
    y += sum * inverseSqrt(squareSum / f32(8 * EIGHTS / GROUPS) + fixed.eps);
#else
    y += sum;
#endif
  }
#if BIAS
  y += bias[fixed.biasOffset + column];
#endif
#if RESIDUAL
  y += before;
#endif
#if CONV
  if (isConvolved) {
    convolve(ownB, column - fixed.convBegin, y, before);
    return;
  }
#endif
  out[fixed.outOffset + ownB * fixed.outStride + column] = y;
}
