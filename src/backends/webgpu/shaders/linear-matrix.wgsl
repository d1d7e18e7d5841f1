// y = a Wᵀ for many rows by subgroup matrices: a workgroup makes $BM x $BN outputs, each of its subgroups $WM x $WN.
//
// a: rows of float16 in tiles (see to-float16.wgsl), weight (outputs, K) as $DTYPE → out (T, outputs)
// (+ bias (outputs), + residual (T, outputs)), columns from firstOutput on.
#if CONV
// Outputs from convBegin on, C of them, are the inputs of causal convolutions (4 taps) with a state of 3: the convolved and
// activated value goes to convolved (T, C). A row whose slot is negative passes through.
#endif
// Blocks of $BK inputs are brought to workgroup
// memory, the next one to registers while the last is multiplied. Grid: (outputs / BN * T / BM), $BAND rows of blocks
// after another, so that those that run at the same time share what they read.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

#include "linear-matrix-params"

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4u>;
@group(0) @binding(2) var<storage, read> weight: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;
#endif
#if RESIDUAL
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;
#endif
#if CONV
@group(0) @binding(4) var<storage, read> convWeight: array<vec4f>;
@group(0) @binding(5) var<storage, read> convBias: array<f32>;
@group(0) @binding(6) var<storage, read> slots: array<i32>;
@group(0) @binding(7) var<storage, read_write> convStates: array<f32>;
@group(0) @binding(8) var<storage, read_write> convolved: array<f32>;
#endif

const EIGHTS = $K / 8u;
const BM = ${BM}u;
const BN = ${BN}u;
const WM = ${WM}u;
const WN = ${WN}u;
const BAND = ${BAND}u;
const DEPTH = $BK / 8u;              // eights in a block
const STRIDE = DEPTH + 1;            // of rows in workgroup memory: no two in the same banks
const ACROSS = BN / WN;              // subgroups
const THREADS = ${THREADS}u;
const LEAP = THREADS / DEPTH;        // rows that one load of all invocations covers
const BLOCK = (BM + BN) * STRIDE;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> block: array<vec4u, ${SHARED}>;

const ROW_WORDS = ${ROW_WORDS}u;
#include "eights-$DTYPE"

fn inputsOf(row: u32, eight: u32) -> vec4u {
  return a[(row / 16 * (EIGHTS / 2) + eight / 2) * 32 + row % 16 * 2 + eight % 2];
}

fn weightsOf(row: u32, eight: u32) -> vec4u {
#if FLOAT16
  return loadEight(row, eight);
#else
  let packed = loadEight(row, eight);
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
  let blocksDown = (params.T + BM - 1) / BM;
  let blocksAcross = (params.outputs + BN - 1) / BN;
  let band = group.x / (BAND * blocksAcross);
  let bandRows = min(blocksDown - band * BAND, BAND);
  let inBand = group.x - band * BAND * blocksAcross;
  let m0 = (band * BAND + inBand % bandRows) * BM;
  let n0 = inBand / bandRows * BN;
  let wm = subgroup / ACROSS * WM;
  let wn = subgroup % ACROSS * WN;
  let row = i / DEPTH;
  let eight = i % DEPTH;
  let own = row * STRIDE + eight;
#for m FRAGMENTS_DOWN
#for n FRAGMENTS_ACROSS
  var sum${m}_${n}: Result;
#endfor
#endfor
#for j A_LOADS
  let aRow${j} = min(m0 + row + ${j} * LEAP, params.T - 1);
  var a${j} = inputsOf(aRow${j}, eight);
#endfor
#for j W_LOADS
  let wRow${j} = min(n0 + row + ${j} * LEAP, params.outputs - 1);
  var w${j} = weightsOf(wRow${j}, eight);
#endfor
#for j A_LOADS
  block[own + ${j} * LEAP * STRIDE] = a${j};
#endfor
#for j W_LOADS
  block[BM * STRIDE + own + ${j} * LEAP * STRIDE] = w${j};
#endfor
  workgroupBarrier();
#if DOUBLE
  var buffer = 0u;
#else
  const buffer = 0u;
#endif
  for (var k = DEPTH; k <= EIGHTS; k += DEPTH) {
    let isMore = k < EIGHTS;
    if (isMore) {
#for j A_LOADS
      a${j} = inputsOf(aRow${j}, k + eight);
#endfor
#for j W_LOADS
      w${j} = weightsOf(wRow${j}, k + eight);
#endfor
    }
#for d STEPS
    {
#for m FRAGMENTS_DOWN
      let left${m} = subgroupMatrixLoad<Left, row_major>(&block, buffer + (wm + 16 * ${m}) * STRIDE + 2 * ${d}, STRIDE);
#endfor
#for n FRAGMENTS_ACROSS
      let right${n} = subgroupMatrixLoad<Right, col_major>(&block, buffer + (BM + wn + 16 * ${n}) * STRIDE + 2 * ${d}, STRIDE);
#for m FRAGMENTS_DOWN
      sum${m}_${n} = subgroupMatrixMultiplyAccumulate(left${m}, right${n}, sum${m}_${n});
#endfor
#endfor
    }
#endfor
#if DOUBLE
    buffer = BLOCK - buffer;
#else
    workgroupBarrier();
#endif
    if (isMore) {
#for j A_LOADS
      block[buffer + own + ${j} * LEAP * STRIDE] = a${j};
#endfor
#for j W_LOADS
      block[buffer + BM * STRIDE + own + ${j} * LEAP * STRIDE] = w${j};
#endfor
    }
    workgroupBarrier();
  }
  // Through workgroup memory, one fragment after another, so that edges can be cut.
  let piece = subgroup * 64;
  let column = n0 + wn + lane % 4 * 4;
  let firstRow = m0 + wm + lane / 4;
#for m FRAGMENTS_DOWN
#for n FRAGMENTS_ACROSS
  subgroupMatrixStore<row_major>(&block, piece, sum${m}_${n}, 4);
  workgroupBarrier();
  put(firstRow + 16 * ${m}, column + 16 * ${n}, bitcast<vec4f>(block[piece + lane]));
  put(firstRow + 16 * ${m} + 8, column + 16 * ${n}, bitcast<vec4f>(block[piece + 32 + lane]));
  workgroupBarrier();
#endfor
#endfor
#if CONV
  // Neighbours convolve neighbouring channels, which lie side by side in the state.
  storageBarrier();
  for (var e = i; e < BM * BN; e += THREADS) {
    let r = m0 + e / BN;
    let c = params.firstOutput + n0 + e % BN;
    if (r >= params.T || c < params.convBegin || c >= params.convBegin + params.C) { continue; }
    let at = params.outOffset + r * params.outStride + c;
    convolve(r, c - params.convBegin, out[at / 4][at % 4]);
  }
#endif
}

#if CONV
#include "convolve"
#endif

fn put(row: u32, column: u32, sums: vec4f) {
  if (row >= params.T || column >= params.outputs) { return; }
  var y = sums;
  let c = params.firstOutput + column;
#if BIAS
  let b = params.biasOffset + c;
  y += vec4f(bias[b], bias[b + 1], bias[b + 2], bias[b + 3]);
#endif
#if RESIDUAL
  y += residual[(params.residualOffset + row * params.residualStride + c) / 4];
#endif
  out[(params.outOffset + row * params.outStride + c) / 4] = y;
}
