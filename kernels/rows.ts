// Operations on rows: norms, gates, sums. Rows are `stride` bytes apart. Columns run to a multiple of 4, which the
// backend leaves room for; what stands in the padding is never read back.

import { silu4, sumLanes } from './math';

/** out = x * silu(z) */
export function siluGate(
  x: usize, xStride: usize, z: usize, zStride: usize, out: usize, outStride: usize, rows: i32, columns: i32,
): void {
  const end: usize = <usize>columns << 2;
  for (let r = 0; r < rows; r++) {
    let c: usize = 0;
    for (; c + 32 <= end; c += 32) {
      const a = f32x4.mul(v128.load(x + c), silu4(v128.load(z + c)));
      const b = f32x4.mul(v128.load(x + c, 16), silu4(v128.load(z + c, 16)));
      v128.store(out + c, a);
      v128.store(out + c, b, 16);
    }
    for (; c < end; c += 16) v128.store(out + c, f32x4.mul(v128.load(x + c), silu4(v128.load(z + c))));
    x += xStride;
    z += zStride;
    out += outStride;
  }
}

/** out = x + y */
export function add(
  x: usize, xStride: usize, y: usize, yStride: usize, out: usize, outStride: usize, rows: i32, columns: i32,
): void {
  for (let r = 0; r < rows; r++) {
    for (let c: usize = 0; c < <usize>columns << 2; c += 16) {
      v128.store(out + c, f32x4.add(v128.load(x + c), v128.load(y + c)));
    }
    x += xStride;
    y += yStride;
    out += outStride;
  }
}

/** out = x * v, the same v for every row. */
export function mulColumns(x: usize, xStride: usize, v: usize, out: usize, outStride: usize, rows: i32, columns: i32): void {
  for (let r = 0; r < rows; r++) {
    for (let c: usize = 0; c < <usize>columns << 2; c += 16) {
      v128.store(out + c, f32x4.mul(v128.load(x + c), v128.load(v + c)));
    }
    x += xStride;
    out += outStride;
  }
}

/** out = x * factor */
export function mulScalar(x: usize, xStride: usize, factor: f32, out: usize, outStride: usize, rows: i32, columns: i32): void {
  const factors = f32x4.splat(factor);
  for (let r = 0; r < rows; r++) {
    for (let c: usize = 0; c < <usize>columns << 2; c += 16) v128.store(out + c, f32x4.mul(v128.load(x + c), factors));
    x += xStride;
    out += outStride;
  }
}

/** Σ x² of `count` floats. */
function squareSum(x: usize, count: i32): f32 {
  let a = f32x4.splat(0), b = a;
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const u = v128.load(x), v = v128.load(x, 16);
    a = f32x4.add(a, f32x4.mul(u, u));
    b = f32x4.add(b, f32x4.mul(v, v));
    x += 32;
  }
  let sum = sumLanes(f32x4.add(a, b));
  for (; i < count; i++) {
    const v = load<f32>(x);
    sum += v * v;
    x += 4;
  }
  return sum;
}

/**
 * Per row the Σ of squares in each of `groups` groups of groupSize columns; the row's own columns begin at firstColumn
 * of the whole row.
 */
export function groupSquareSums(
  v: usize, vStride: usize, out: usize, outStride: usize, rows: i32, columns: i32, groups: i32, groupSize: i32, firstColumn: i32,
): void {
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) {
      const begin = max(g * groupSize - firstColumn, 0);
      const end = min((g + 1) * groupSize - firstColumn, columns);
      store<f32>(out + (<usize>g << 2), begin < end ? squareSum(v + (<usize>begin << 2), end - begin) : 0);
    }
    v += vStride;
    out += outStride;
  }
}

/** out = v / sqrt(sums / groupSize + eps) * weight, with each column's group. */
export function scaleByGroupNorm(
  v: usize, vStride: usize, sums: usize, sumsStride: usize, weight: usize, out: usize, outStride: usize,
  rows: i32, columns: i32, groupSize: i32, firstColumn: i32, eps: f32,
): void {
  for (let r = 0; r < rows; r++) {
    let c = 0;
    while (c < columns) {
      const group = (firstColumn + c) / groupSize;
      const end = min((group + 1) * groupSize - firstColumn, columns);
      const scale: f32 = 1 / Mathf.sqrt(load<f32>(sums + (<usize>group << 2)) / <f32>groupSize + eps);
      scaleColumns(v, weight, out, c, end, scale);
      c = end;
    }
    v += vStride;
    sums += sumsStride;
    out += outStride;
  }
}

function scaleColumns(v: usize, weight: usize, out: usize, begin: i32, end: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  let c = begin;
  for (; c + 4 <= end; c += 4) {
    const at = <usize>c << 2;
    v128.store(out + at, f32x4.mul(f32x4.mul(v128.load(v + at), factor), v128.load(weight + at)));
  }
  for (; c < end; c++) {
    const at = <usize>c << 2;
    store<f32>(out + at, load<f32>(v + at) * scale * load<f32>(weight + at));
  }
}

/** out = x / sqrt(sums / count + eps), one sum a row. */
export function scaleRows(
  x: usize, xStride: usize, sums: usize, sumsStride: usize, out: usize, outStride: usize, rows: i32, columns: i32, count: i32, eps: f32,
): void {
  for (let r = 0; r < rows; r++) {
    const factor = f32x4.splat(1 / Mathf.sqrt(load<f32>(sums) / <f32>count + eps));
    for (let c: usize = 0; c < <usize>columns << 2; c += 16) v128.store(out + c, f32x4.mul(v128.load(x + c), factor));
    x += xStride;
    sums += sumsStride;
    out += outStride;
  }
}

/** x / sqrt(mean(x²) + eps) * weight */
export function rmsNorm(
  x: usize, xStride: usize, weight: usize, out: usize, outStride: usize, rows: i32, columns: i32, eps: f32,
): void {
  for (let r = 0; r < rows; r++) {
    scaleColumns(x, weight, out, 0, columns, 1 / Mathf.sqrt(squareSum(x, columns) / <f32>columns + eps));
    x += xStride;
    out += outStride;
  }
}

export function copyRows(from: usize, fromStride: usize, to: usize, toStride: usize, rows: i32, bytes: usize): void {
  for (let r = 0; r < rows; r++) {
    memory.copy(to, from, bytes);
    from += fromStride;
    to += toStride;
  }
}

/** Row r of out is row indices[r] of x. */
export function gatherRows(x: usize, xStride: usize, indices: usize, out: usize, outStride: usize, rows: i32, bytes: usize): void {
  for (let r = 0; r < rows; r++) {
    memory.copy(out, x + <usize>load<i32>(indices) * xStride, bytes);
    indices += 4;
    out += outStride;
  }
}

export function clear(address: usize, bytes: usize): void {
  memory.fill(address, 0, bytes);
}
