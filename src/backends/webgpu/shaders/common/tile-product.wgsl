// The product of two matrices that are made as they are needed, 64 x 64 outputs per workgroup of 128 invocations, by
// subgroup matrices of float16 where MATRIX is set. The including shader says what they hold with leftFour and rightFour:
// four neighbours each, along k where LEFT_ALONG_K and RIGHT_ALONG_K are set, otherwise along the outputs. Beyond the ends
// they must give zeros.

const THREADS = 128u;
#if MATRIX
const DEPTH = 32u;
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;
#if LEFT_ALONG_K
const LEFT_STRIDE = DEPTH / 8 + 1;
var<workgroup> leftTile: array<vec4u, 64 * LEFT_STRIDE>;
#else
const LEFT_STRIDE = 9u;
var<workgroup> leftTile: array<vec4u, DEPTH * LEFT_STRIDE>;
#endif
#if RIGHT_ALONG_K
const RIGHT_STRIDE = DEPTH / 8 + 1;
var<workgroup> rightTile: array<vec4u, 64 * RIGHT_STRIDE>;
#else
const RIGHT_STRIDE = 9u;
var<workgroup> rightTile: array<vec4u, DEPTH * RIGHT_STRIDE>;
#endif
// A fragment per subgroup, on its way out.
var<workgroup> pieces: array<vec4f, 4 * 64>;

#include "halves"
#else
const DEPTH = 16u;
var<workgroup> leftTile: array<f32, DEPTH * 64>;
var<workgroup> rightTile: array<f32, DEPTH * 64>;
#endif

fn fillLeft(i: u32, k0: u32) {
  for (var e = i; e < 64 * DEPTH / 8; e += THREADS) {
#if LEFT_ALONG_K
    let outer = e / (DEPTH / 8);
    let k = e % (DEPTH / 8) * 8;
    let a = leftFour(outer, k0 + k);
    let b = leftFour(outer, k0 + k + 4);
#if MATRIX
    leftTile[outer * LEFT_STRIDE + k / 8] = vec4u(halvesOf(a), halvesOf(b));
#else
    for (var j = 0u; j < 4; j++) {
      leftTile[(k + j) * 64 + outer] = a[j];
      leftTile[(k + 4 + j) * 64 + outer] = b[j];
    }
#endif
#else
    let k = e / 8;
    let outer = e % 8 * 8;
    let a = leftFour(outer, k0 + k);
    let b = leftFour(outer + 4, k0 + k);
#if MATRIX
    leftTile[k * LEFT_STRIDE + outer / 8] = vec4u(halvesOf(a), halvesOf(b));
#else
    for (var j = 0u; j < 4; j++) {
      leftTile[k * 64 + outer + j] = a[j];
      leftTile[k * 64 + outer + 4 + j] = b[j];
    }
#endif
#endif
  }
}

fn fillRight(i: u32, k0: u32) {
  for (var e = i; e < 64 * DEPTH / 8; e += THREADS) {
#if RIGHT_ALONG_K
    let outer = e / (DEPTH / 8);
    let k = e % (DEPTH / 8) * 8;
    let a = rightFour(outer, k0 + k);
    let b = rightFour(outer, k0 + k + 4);
#if MATRIX
    rightTile[outer * RIGHT_STRIDE + k / 8] = vec4u(halvesOf(a), halvesOf(b));
#else
    for (var j = 0u; j < 4; j++) {
      rightTile[(k + j) * 64 + outer] = a[j];
      rightTile[(k + 4 + j) * 64 + outer] = b[j];
    }
#endif
#else
    let k = e / 8;
    let outer = e % 8 * 8;
    let a = rightFour(outer, k0 + k);
    let b = rightFour(outer + 4, k0 + k);
#if MATRIX
    rightTile[k * RIGHT_STRIDE + outer / 8] = vec4u(halvesOf(a), halvesOf(b));
#else
    for (var j = 0u; j < 4; j++) {
      rightTile[k * 64 + outer + j] = a[j];
      rightTile[k * 64 + outer + 4 + j] = b[j];
    }
#endif
#endif
  }
}

// Sums over k from 0 to `end` and gives them to `put(row, column, four neighbours)`. All invocations come here together.
fn multiply(end: u32, i: u32, subgroup: u32, lane: u32) {
#if MATRIX
  let down = subgroup / 2 * 32;
  let across = subgroup % 2 * 32;
#for m 2
#for n 2
  var sum${m}_${n}: Result;
#endfor
#endfor
  for (var k0 = 0u; k0 < end; k0 += DEPTH) {
    fillLeft(i, k0);
    fillRight(i, k0);
    workgroupBarrier();
#for d 2
    {
#for m 2
#if LEFT_ALONG_K
      let left${m} = subgroupMatrixLoad<Left, row_major>(&leftTile, (down + 16 * ${m}) * LEFT_STRIDE + 2 * ${d}, LEFT_STRIDE);
#else
      let left${m} = subgroupMatrixLoad<Left, col_major>(&leftTile, 16 * ${d} * LEFT_STRIDE + down / 8 + 2 * ${m}, LEFT_STRIDE);
#endif
#endfor
#for n 2
#if RIGHT_ALONG_K
      let right${n} = subgroupMatrixLoad<Right, col_major>(&rightTile, (across + 16 * ${n}) * RIGHT_STRIDE + 2 * ${d}, RIGHT_STRIDE);
#else
      let right${n} = subgroupMatrixLoad<Right, row_major>(&rightTile, 16 * ${d} * RIGHT_STRIDE + across / 8 + 2 * ${n}, RIGHT_STRIDE);
#endif
#for m 2
      sum${m}_${n} = subgroupMatrixMultiplyAccumulate(left${m}, right${n}, sum${m}_${n});
#endfor
#endfor
    }
#endfor
    workgroupBarrier();
  }
#for m 2
#for n 2
  subgroupMatrixStore<row_major>(&pieces, subgroup * 64, sum${m}_${n}, 4);
  workgroupBarrier();
  put(down + 16 * ${m} + lane / 4, across + 16 * ${n} + lane % 4 * 4, pieces[subgroup * 64 + lane]);
  put(down + 16 * ${m} + lane / 4 + 8, across + 16 * ${n} + lane % 4 * 4, pieces[subgroup * 64 + 32 + lane]);
  workgroupBarrier();
#endfor
#endfor
#else
  let row = i / 16 * 8;
  let column = i % 16 * 4;
#for r 8
  var sum${r} = vec4f();
#endfor
  for (var k0 = 0u; k0 < end; k0 += DEPTH) {
    fillLeft(i, k0);
    fillRight(i, k0);
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let c = k * 64 + column;
      let right = vec4f(rightTile[c], rightTile[c + 1], rightTile[c + 2], rightTile[c + 3]);
#for r 8
      sum${r} += leftTile[k * 64 + row + ${r}] * right;
#endfor
    }
    workgroupBarrier();
  }
#for r 8
  put(row + ${r}, column, sum${r});
#endfor
#endif
}
