// y = a Wᵀ by subgroup matrices, for some rows or many: a workgroup makes $BM x $BN outputs.
//
// $SPLIT parts of a workgroup share the inputs, in order, and their sums are added at the end; in each part a subgroup makes
// $WM x $WN outputs. Blocks of $BK inputs are brought to workgroup memory; the next $STAGES are on their way to registers
// while one is multiplied.
//
#if NORM
// a: x (T, K) float32, times normWeight (K), rounded to float16 on loading. The norm's division follows the product:
// y = Σ_groups (Σ_k x normWeight W) / sqrt(mean(x²) + eps); all inputs of a part lie in one of $GROUPS groups.
#else
// a: rows of float16 in tiles (see float16-tiles.wgsl).
#endif
// weight (outputs, K) as $DTYPE → out (T, outputs) (+ bias (outputs), + residual (T, outputs)), columns from firstOutput on.
#if CONV
// Outputs from convBegin on, C of them, are the inputs of causal convolutions (4 taps) with a state of 3: the convolved and
// activated value goes to convolved (T, C). A row whose slot is negative passes through.
#endif
#if SLICED
// Of $SLICES workgroups each takes a share of the inputs, and out is (T, SLICES, outputs): see add-slices.wgsl.
#endif
// Grid: (outputs / BN * T / BM, SLICES), $BAND rows of blocks after another, so that those that run at the same time share what
// they read.

#include "linear-matrix-params"

#if NORM
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> a: array<vec4u>;
#endif
#if NORM
@group(0) @binding(4) var<storage, read> normWeight: array<vec4f>;
#endif

const EIGHTS = $K / 8u;
const BM = ${BM}u;
const BN = ${BN}u;
const WM = ${WM}u;
const WN = ${WN}u;
const BAND = ${BAND}u;
const SPLIT = ${SPLIT}u;
const SLICE = EIGHTS / ${SLICES}u;   // of a workgroup
const SHARE = SLICE / SPLIT;         // of a part
const DEPTH = $BK / 8u;              // eights in a block
const STRIDE = DEPTH + 1;            // of rows in workgroup memory: no two in the same banks
const ACROSS = BN / WN;              // subgroups
const SUBGROUPS = BM / WM * ACROSS;  // of a part
const PART_THREADS = 32 * SUBGROUPS;
const THREADS = SPLIT * PART_THREADS;
const LEAP = PART_THREADS / DEPTH;   // rows that one load of a part's invocations covers
const BLOCK = (BM + BN) * STRIDE;

var<workgroup> block: array<vec4u, ${SHARED}>;

const ROW_WORDS = ${ROW_WORDS}u;
#include "eights-$DTYPE"
#include "float16-tiles"

#if NORM
const GROUPS = ${GROUPS}u;
const SQUARES = SPLIT * DEPTH / GROUPS;   // sums of squares of a row and group

var<workgroup> squares: array<f32, BM * GROUPS * SQUARES>;
var<workgroup> scales: array<f32, BM * GROUPS>;

alias Inputs = array<vec4f, 2>;
fn inputsOf(row: u32, eight: u32) -> Inputs {
  let at = (fixed.xOffset + row * fixed.xStride) / 4 + 2 * eight;
  return Inputs(a[at], a[at + 1]);
}
fn inputHalves(inputs: Inputs, eight: u32) -> vec4u {
  let at = fixed.normOffset / 4 + 2 * eight;
  return vec4u(halvesOf(inputs[0] * normWeight[at]), halvesOf(inputs[1] * normWeight[at + 1]));
}
#else
alias Inputs = vec4u;
fn inputsOf(row: u32, eight: u32) -> Inputs {
  return a[eightOf(row, eight)];
}
fn inputHalves(inputs: Inputs, eight: u32) -> vec4u { return inputs; }
#endif

fn weightHalves(packed: Packed) -> vec4u {
#if FLOAT16
  return packed;
#else
  let first = firstFour(packed);
  let last = lastFour(packed);
  return vec4u(pack2x16float(first.xy), pack2x16float(first.zw), pack2x16float(last.xy), pack2x16float(last.zw));
#endif
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(local_invocation_index) i: u32,
) {
#if SLICED
  let slice = group.y;
#else
  const slice = 0u;
#endif
  let blocksDown = (params.T + BM - 1) / BM;
  const blocksAcross = (OUTPUTS + BN - 1) / BN;
  let band = group.x / (BAND * blocksAcross);
  let bandRows = min(blocksDown - band * BAND, BAND);
  let inBand = group.x - band * BAND * blocksAcross;
  let m0 = (band * BAND + inBand % bandRows) * BM;
  let n0 = inBand / bandRows * BN;
  let part = subgroup / SUBGROUPS;
  let inPart = subgroup % SUBGROUPS;
  let wm = inPart / ACROSS * WM;
  let wn = inPart % ACROSS * WN;
  let row = i % PART_THREADS / DEPTH;
  let eight = i % DEPTH;
  let first = slice * SLICE + part * SHARE + eight;
  let begin = part * BLOCK;
  let own = begin + row * STRIDE + eight;
#for m FRAGMENTS_DOWN
#for n FRAGMENTS_ACROSS
  var sum${m}_${n}: Result;
#endfor
#endfor
  var inputs: array<array<Inputs, $A_LOADS>, $STAGES>;
  var weights: array<array<Packed, $W_LOADS>, $STAGES>;
#if NORM
  var square: array<f32, $A_LOADS>;
#endif
#for j A_LOADS
  let aRow${j} = min(m0 + row + ${j} * LEAP, params.T - 1);
#endfor
#for j W_LOADS
  let wRow${j} = min(n0 + row + ${j} * LEAP, OUTPUTS - 1);
#endfor
#for s STAGES
  if (${s} * DEPTH < SHARE) {
#for j W_LOADS
    weights[${s}][${j}] = loadEight(wRow${j}, first + ${s} * DEPTH);
#endfor
#for j A_LOADS
    inputs[${s}][${j}] = inputsOf(aRow${j}, first + ${s} * DEPTH);
#endfor
  }
#endfor
#for j A_LOADS
  block[own + ${j} * LEAP * STRIDE] = inputHalves(inputs[0][${j}], first);
#if NORM
  square[${j}] += dot(inputs[0][${j}][0], inputs[0][${j}][0]) + dot(inputs[0][${j}][1], inputs[0][${j}][1]);
#endif
#endfor
#for j W_LOADS
  block[own + (BM + ${j} * LEAP) * STRIDE] = weightHalves(weights[0][${j}]);
#endfor
  workgroupBarrier();
  for (var k = 0u; k < SHARE; k += $STAGES * DEPTH) {
#for s STAGES
    if (k + ${s} * DEPTH < SHARE) {
      if (k + (${s} + $STAGES) * DEPTH < SHARE) {
#for j W_LOADS
        weights[${s}][${j}] = loadEight(wRow${j}, first + k + (${s} + $STAGES) * DEPTH);
#endfor
#for j A_LOADS
        inputs[${s}][${j}] = inputsOf(aRow${j}, first + k + (${s} + $STAGES) * DEPTH);
#endfor
      }
#for d STEPS
      {
#for m FRAGMENTS_DOWN
        let left${m} = subgroupMatrixLoad<Left, row_major>(&block, begin + (wm + 16 * ${m}) * STRIDE + 2 * ${d}, STRIDE);
#endfor
#for n FRAGMENTS_ACROSS
        let right${n} = subgroupMatrixLoad<Right, col_major>(&block, begin + (BM + wn + 16 * ${n}) * STRIDE + 2 * ${d}, STRIDE);
#for m FRAGMENTS_DOWN
        sum${m}_${n} = subgroupMatrixMultiplyAccumulate(left${m}, right${n}, sum${m}_${n});
#endfor
#endfor
      }
#endfor
      workgroupBarrier();
      if (k + (${s} + 1) * DEPTH < SHARE) {
        const next = (${s} + 1) % $STAGES;
#for j A_LOADS
        block[own + ${j} * LEAP * STRIDE] = inputHalves(inputs[next][${j}], first + k + (${s} + 1) * DEPTH);
#if NORM
        square[${j}] += dot(inputs[next][${j}][0], inputs[next][${j}][0]) + dot(inputs[next][${j}][1], inputs[next][${j}][1]);
#endif
#endfor
#for j W_LOADS
        block[own + (BM + ${j} * LEAP) * STRIDE] = weightHalves(weights[next][${j}]);
#endfor
      }
      workgroupBarrier();
    }
#endfor
  }
#if NORM
#for j A_LOADS
  squares[((row + ${j} * LEAP) * SPLIT + part) * DEPTH + eight] = square[${j}];
#endfor
  workgroupBarrier();
  for (var e = i; e < BM * GROUPS; e += THREADS) {
    var sum = 0.0;
    for (var j = 0u; j < SQUARES; j++) { sum += squares[e * SQUARES + j]; }
    scales[e] = inverseSqrt(sum / f32(8 * EIGHTS / GROUPS) + fixed.eps);
  }
#endif
  // Through workgroup memory, a row of fragments after another, so that edges can be cut.
  let lane0 = (inPart * $FRAGMENTS_ACROSS) * 64 + lane;
  let column = n0 + wn + lane % 4 * 4;
  let inRows = wm + lane / 4;
#for m FRAGMENTS_DOWN
#for n FRAGMENTS_ACROSS
  subgroupMatrixStore<row_major>(&block, (subgroup * $FRAGMENTS_ACROSS + ${n}) * 64, sum${m}_${n}, 4);
#endfor
  workgroupBarrier();
#for n FRAGMENTS_ACROSS
#for half 2
  var before${m}_${n}_${half}: Before;
  if (${half} % SPLIT == part) { before${m}_${n}_${half} = before(m0 + inRows + 16 * ${m} + 8 * ${half}, column + 16 * ${n}); }
#endfor
#endfor
#for n FRAGMENTS_ACROSS
#for half 2
  if (${half} % SPLIT == part) {
    let sums = sumsOf(inRows + 16 * ${m} + 8 * ${half}, lane0 + ${n} * 64 + 32 * ${half});
    put(slice, m0 + inRows + 16 * ${m} + 8 * ${half}, column + 16 * ${n}, sums, before${m}_${n}_${half});
  }
#endfor
#endfor
  workgroupBarrier();
#endfor
}

// Four sums of a row of the workgroup's, over all parts.
fn sumsOf(row: u32, at: u32) -> vec4f {
  var y = vec4f();
  for (var part = 0u; part < SPLIT; part++) {
    let sums = bitcast<vec4f>(block[part * SUBGROUPS * $FRAGMENTS_ACROSS * 64 + at]);
#if NORM
    y += sums * scales[row * GROUPS + part * GROUPS / SPLIT];
#else
    y += sums;
#endif
  }
  return y;
}

#include "linear-matrix-results"
