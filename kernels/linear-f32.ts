// y = x Wᵀ over float32 and bfloat16 weights.
//
// Weights come in panels of 16 outputs, so that lanes are outputs: a panel holds, for each input k, its 16 weights.
// An output sums over k in ascending order, one product at a time, whatever the number of rows: a row's result has the
// same bits alone as among a thousand. Products and sums stay apart (no fused multiply-add) for the same reason: what an
// engine fuses may differ between its compilers.

/** float32 panels: [panel][k][16]. x rows of K floats `xStride` bytes apart; out rows `outStride` bytes apart. */
export function linearF32(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32,
): void {
  const panelBytes: usize = K << 6;
  for (let panel = 0; panel < panels; panel++) {
    panelF32(x, xStride, w, out, outStride, rows, K);
    w += panelBytes;
    out += 64;
  }
}

/**
 * bfloat16 panels: [panel][k][16] in 32 bytes. The two vectors of a k hold outputs 0-3 and 4-7 in their low halves, 8-11
 * and 12-15 in their high halves. With several rows a panel is widened once into `scratch` (K * 64 bytes).
 */
export function linearBF16(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, scratch: usize,
): void {
  const panelBytes: usize = K << 5;
  for (let panel = 0; panel < panels; panel++) {
    if (rows < 4) {
      for (let r = 0; r < rows; r++) rowBF16(x + <usize>r * xStride, w, out + <usize>r * outStride, K);
    } else {
      widenBF16(w, scratch, K);
      panelF32(x, xStride, scratch, out, outStride, rows, K);
    }
    w += panelBytes;
    out += 64;
  }
}

function panelF32(x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, K: i32): void {
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    tile4F32(x, xStride, w, out, outStride, K);
    x += xStride << 2;
    out += outStride << 2;
  }
  for (; r < rows; r++) {
    rowF32(x, w, out, K);
    x += xStride;
    out += outStride;
  }
}

function tile4F32(x: usize, xStride: usize, w: usize, out: usize, outStride: usize, K: i32): void {
  const zero = f32x4.splat(0);
  let a00 = zero, a01 = zero, a02 = zero, a03 = zero;
  let a10 = zero, a11 = zero, a12 = zero, a13 = zero;
  let a20 = zero, a21 = zero, a22 = zero, a23 = zero;
  let a30 = zero, a31 = zero, a32 = zero, a33 = zero;
  let x0 = x, x1 = x0 + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
  const end = x0 + (<usize>K << 2);
  while (x0 < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
    let v = v128.load32_splat(x0);
    a00 = f32x4.add(a00, f32x4.mul(w0, v));
    a01 = f32x4.add(a01, f32x4.mul(w1, v));
    a02 = f32x4.add(a02, f32x4.mul(w2, v));
    a03 = f32x4.add(a03, f32x4.mul(w3, v));
    v = v128.load32_splat(x1);
    a10 = f32x4.add(a10, f32x4.mul(w0, v));
    a11 = f32x4.add(a11, f32x4.mul(w1, v));
    a12 = f32x4.add(a12, f32x4.mul(w2, v));
    a13 = f32x4.add(a13, f32x4.mul(w3, v));
    v = v128.load32_splat(x2);
    a20 = f32x4.add(a20, f32x4.mul(w0, v));
    a21 = f32x4.add(a21, f32x4.mul(w1, v));
    a22 = f32x4.add(a22, f32x4.mul(w2, v));
    a23 = f32x4.add(a23, f32x4.mul(w3, v));
    v = v128.load32_splat(x3);
    a30 = f32x4.add(a30, f32x4.mul(w0, v));
    a31 = f32x4.add(a31, f32x4.mul(w1, v));
    a32 = f32x4.add(a32, f32x4.mul(w2, v));
    a33 = f32x4.add(a33, f32x4.mul(w3, v));
    w += 64;
    x0 += 4;
    x1 += 4;
    x2 += 4;
    x3 += 4;
  }
  store16(out, a00, a01, a02, a03);
  store16(out + outStride, a10, a11, a12, a13);
  store16(out + (outStride << 1), a20, a21, a22, a23);
  store16(out + outStride * 3, a30, a31, a32, a33);
}

function rowF32(x: usize, w: usize, out: usize, K: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = x + (<usize>K << 2);
  while (x < end) {
    const v = v128.load32_splat(x);
    a0 = f32x4.add(a0, f32x4.mul(v128.load(w), v));
    a1 = f32x4.add(a1, f32x4.mul(v128.load(w, 16), v));
    a2 = f32x4.add(a2, f32x4.mul(v128.load(w, 32), v));
    a3 = f32x4.add(a3, f32x4.mul(v128.load(w, 48), v));
    w += 64;
    x += 4;
  }
  store16(out, a0, a1, a2, a3);
}

function rowBF16(x: usize, w: usize, out: usize, K: i32): void {
  const high = i32x4.splat(0xffff0000);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = x + (<usize>K << 2);
  while (x < end) {
    const v = v128.load32_splat(x);
    const w0 = v128.load(w), w1 = v128.load(w, 16);
    a0 = f32x4.add(a0, f32x4.mul(i32x4.shl(w0, 16), v));
    a1 = f32x4.add(a1, f32x4.mul(i32x4.shl(w1, 16), v));
    a2 = f32x4.add(a2, f32x4.mul(v128.and(w0, high), v));
    a3 = f32x4.add(a3, f32x4.mul(v128.and(w1, high), v));
    w += 32;
    x += 4;
  }
  store16(out, a0, a1, a2, a3);
}

function widenBF16(w: usize, out: usize, K: i32): void {
  const high = i32x4.splat(0xffff0000);
  const end = w + (<usize>K << 5);
  while (w < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16);
    store16(out, i32x4.shl(w0, 16), i32x4.shl(w1, 16), v128.and(w0, high), v128.and(w1, high));
    w += 32;
    out += 64;
  }
}

// @ts-ignore: decorator
@inline
export function store16(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(out, a);
  v128.store(out, b, 16);
  v128.store(out, c, 32);
  v128.store(out, d, 48);
}
